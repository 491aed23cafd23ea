"""From a row of the feed to an item of a sweep, and on to the record that is published. Pure."""

from __future__ import annotations

from typing import Any

from bridge.clock import Micros
from bridge.errors import InvalidRecord
from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed
from bridge.missions.timestamps import micros
from bridge.source.reading.windows import Item


def record(item: Item, mission_id: str | None, now: Micros, *, late: bool) -> dict[str, Any]:
    """Return the fields of a MissionEvent.

    Raises InvalidRecord for a row that is no event or has a timestamp that is none.
    """
    row = item.row
    if not isinstance(row, Event):
        raise InvalidRecord("no_event", row.error if isinstance(row, Malformed) else "no event")
    return {
        "event_id": row.event_id,
        "run_id": row.run_id,
        "mission_id": mission_id,
        "type": row.type,
        "summary": row.summary,
        "timestamp": item.at if item.is_dated else micros(row.timestamp),
        "step_id": row.step_id,
        "agent_id": row.agent_id,
        "idempotency_key": row.idempotency_key,
        "payload": row.payload,
        "late": late,
        "ingested_at": now,
        "extra": row.extra,
    }


def original(row: object) -> str:
    """Return a row's JSON text, for its dead letter."""
    if isinstance(row, Event):
        return row.text()
    return jsontext.dumps(row.raw if isinstance(row, Malformed) else row)
