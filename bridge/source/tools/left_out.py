"""Why an event is not on its topic: what the API shows of it, and what the checkpoint says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bridge.clock import SECOND, Micros, utc
from bridge.missions.models import Event
from bridge.source.checkpoint.position import Climb
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.reader import ApiList
from bridge.source.reading.windows import BEGINNING, Found, Item
from bridge.source.tools.access import SourceAccess


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the API shows of an event: in the feed, and in the list of its run."""

    in_feed: Item | None = None
    in_run: Item | None = None

    @property
    def item(self) -> Item | None:
        """The event, wherever it is shown."""
        return self.in_run or self.in_feed


async def look(view: SourceAccess, event_id: str, run_id: str | None) -> Sighting:
    """Look for an event in the API's lists; without its run, in all of the feed.

    Raises what the API client raises.
    """
    in_feed = None
    if run_id is None:
        in_feed = await _seek(view, view.feed, event_id, None, BEGINNING)
        if in_feed is None:
            return Sighting()
        run_id = in_feed.run_id
    mission_id, in_run = await view.mission_of(run_id), None
    if mission_id is not None:
        in_run = await _seek(view, view.run_list(mission_id, run_id), event_id, run_id, BEGINNING)
    if in_feed is None:
        low = BEGINNING if in_run is None else in_run.at
        in_feed = await _seek(view, view.feed, event_id, run_id, low)
    return Sighting(in_feed, in_run)


async def _seek(
    view: SourceAccess, listing: ApiList, event_id: str, run_id: str | None, low: Micros
) -> Item | None:
    """Read a list down to `low`, and return the event if it is there."""
    seen: list[Item] = []

    async def found(one: Found) -> None:
        for item in one.items:
            row = item.row
            if isinstance(row, Event) and row.event_id == event_id and run_id in (None, row.run_id):
                seen.append(item)

    await view.read(listing, low, found)
    return seen[-1] if seen else None


@dataclass(frozen=True, slots=True)
class Account:
    """Where a source stands; `lateness` is the window in use, `audited` the seconds between."""

    checkpoint: Checkpoint
    lateness: Micros
    audited: float


def reasons(account: Account, name: bytes | None, seen: Sighting) -> Iterator[str]:
    """Say why an event is not on its topic; `name` is its digest, None if its run is not known."""
    state = account.checkpoint
    if name is not None and name in state.seen:
        yield from _known(state, seen)
    elif seen.item is None:
        yield (
            "the API shows no such event, neither in the feed nor in its run's own list: check the "
            "ids; the id of its run, --run, finds what the feed no longer shows"
        )
    else:
        yield _not_known(account, seen.item.at)
    if seen.item is not None and seen.in_feed is None:
        yield "the feed does not show it any more: only the audit of its run can publish it"


def _known(state: Checkpoint, seen: Sighting) -> Iterator[str]:
    began = state.position.audit_floor
    if began is not None and seen.item is not None and seen.item.at < began:
        yield (
            f"it was there before the source began at {utc(began)}, so it is remembered and not "
            "published"
        )
        return
    yield (
        "it was published, and is no longer on the topic: retention has deleted it, or somebody did"
    )


def _not_known(account: Account, at: Micros) -> str:
    """Say why an event that the API shows is not published."""
    position = account.checkpoint.position
    climb, frontier = position.climb, position.frontier
    if position.floor is not None and at < position.floor:
        return f"it is older than {utc(position.floor)}, where the source was told to begin"
    if climb is not None and (frontier is None or climb.low <= at <= climb.top):
        return f"{_how_far(account.checkpoint, climb)}; {_by_climb(climb, at)}"
    if position.kept_from is not None and at < position.kept_from:
        return (
            f"it is older than {utc(position.kept_from)}: what was published then is no longer "
            "remembered, so passes over the feed leave it out. The audit of its run compares it "
            "with the topic, and publishes it if the topic reaches back so far"
        )
    if frontier is None:
        count = account.checkpoint.published
        begun = f"has published {count} events and begins" if count else "has not begun"
        return f"the source {begun} to read the feed: is a bridge running?"
    return _by_frontier(account, frontier, at)


def _how_far(state: Checkpoint, climb: Climb) -> str:
    done = "nothing yet" if climb.low == BEGINNING else f"everything up to {utc(climb.low)}"
    return (
        f"the source reads the past from its oldest event up, as it was at {utc(climb.began)}: "
        f"{done} is published, {state.published} events so far"
    )


def _by_climb(climb: Climb, at: Micros) -> str:
    """Say what a climb has to do with an event that is not published."""
    if at > climb.top:
        return "it is newer than that: polls beside it read it, or the sweep at its end"
    if at >= climb.low:
        return "it has not come to this one yet"
    return "it was not there when its time was read: the audit of its run publishes it"


def _by_frontier(account: Account, frontier: Micros, at: Micros) -> str:
    position, lateness = account.checkpoint.position, f"{account.lateness / SECOND:g} s"
    hole = position.hole
    if at > frontier:
        return f"it is newer than the frontier {utc(frontier)}: the next poll reads it"
    if at > frontier - account.lateness:
        return (
            f"it lies within the lateness window of {lateness} below the frontier "
            f"{utc(frontier)}: the next deep sweep reads it"
        )
    if hole is not None and hole.low <= at <= (frontier if hole.high is None else hole.high):
        return "it lies in a gap of the feed: the runs' own lists are being read because of it"
    return (
        f"it is older than the frontier less the lateness window of {lateness}, and was not there "
        "when that was swept: it appeared later than that after its time. The next audit of its "
        f"run publishes it, within {account.audited:g} s of the one before"
    )
