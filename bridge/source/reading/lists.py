"""The API's lists of events, as a reader takes them."""

from __future__ import annotations

from bridge.missions.client import MissionsClient
from bridge.source.reading import page_items
from bridge.source.reading.reader import ApiList


def feed(client: MissionsClient) -> ApiList:
    """Return the list of all events."""
    return ApiList(
        "the feed",
        lambda page, size: client.list_events(page=page, size=size),
        page_items.items,
    )


def of_run(client: MissionsClient, mission_id: str, run_id: str) -> ApiList:
    """Return a run's own list of events."""
    return ApiList(
        f"the events of run {run_id}",
        lambda page, size: client.list_run_events(mission_id, run_id, page=page, size=size),
        page_items.items,
    )
