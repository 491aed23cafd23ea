"""A list of events that is read by page: the global feed, or the events of one run."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal

from bridge.clock import Micros

Order = Literal["newest", "oldest", "created", "id"]
"""Newest or oldest timestamp first; or whatever the timestamp says, newest created first, or by
event_id, which is no order of time at all."""


@dataclass(slots=True, eq=False)
class SimulatedEvent:
    """One event as it is shown, and what is known of its life.

    Its marks change, and `body` when a test says so.
    """

    at: Micros
    """Its place in time; the shown timestamp, unless a test wrote another one."""
    number: int
    """Counts creations."""
    event_id: str
    run_id: str
    mission_id: str
    type: str
    step_id: str | None
    agent_id: str | None
    timestamp: str
    body: bytes
    """The JSON that lists show, made once."""
    visible_at: Micros
    shown_at: Micros | None = None
    deleted_at: Micros | None = None


@dataclass(frozen=True, slots=True)
class FeedView:
    """How a list is cut into pages; see `Behaviour` for the meaning of each."""

    order: Order = "newest"
    newest_only: int | None = None
    shuffle_ties: Random | None = None
    seen_until: Micros | None = None
    """Show only what was visible then: a replica that lags."""


class Feed:
    """Events sorted by (time, creation) and by creation."""

    def __init__(self) -> None:
        self._by_time: list[SimulatedEvent] = []
        self._by_creation: list[SimulatedEvent] = []

    def __len__(self) -> int:
        return len(self._by_time)

    def add(self, event: SimulatedEvent) -> None:
        """Put an event in its place: at the end, or further down when it is late."""
        insort(self._by_time, event, key=_place)
        self._by_creation.append(event)

    def remove(self, gone: Callable[[SimulatedEvent], bool]) -> None:
        """Take out events; those behind them move up."""
        self._by_time = [event for event in self._by_time if not gone(event)]
        self._by_creation = [event for event in self._by_creation if not gone(event)]

    def created(self) -> Iterable[SimulatedEvent]:
        """The events in order of creation."""
        return iter(self._by_creation)

    def window(
        self,
        offset: int,
        size: int,
        view: FeedView,
        wanted: Callable[[SimulatedEvent], bool] | None = None,
    ) -> tuple[list[SimulatedEvent], int]:
        """The events at positions [offset, offset + size) of a view, and how many it has in all."""
        rows = self._sorted(view.order)
        if view.seen_until is not None:
            until = view.seen_until
            rows = [event for event in rows if event.visible_at <= until]
        if wanted is not None:
            rows = [event for event in rows if wanted(event)]
        end = len(rows)
        begin = 0 if view.newest_only is None else max(0, end - view.newest_only)
        if view.order == "oldest":
            low, high = min(begin + offset, end), min(begin + offset + size, end)
        else:
            low, high = max(begin, end - offset - size), max(begin, end - offset)
        if view.shuffle_ties is not None and view.order in {"newest", "oldest"}:
            found = _shuffled(rows, low, high, view.shuffle_ties)
        else:
            found = rows[low:high]
        if view.order != "oldest":
            found.reverse()
        return found, end - begin

    def _sorted(self, order: Order) -> list[SimulatedEvent]:
        """The events in an order whose last one is listed first (but for `oldest`)."""
        if order == "id":
            return sorted(self._by_time, key=lambda event: event.event_id)
        return self._by_creation if order == "created" else self._by_time


def _place(event: SimulatedEvent) -> tuple[Micros, int]:
    return event.at, event.number


def _shuffled(rows: list[SimulatedEvent], low: int, high: int, rng: Random) -> list[SimulatedEvent]:
    """rows[low:high] as if equal timestamps had just been ordered anew, as SQL may do."""
    first, last = low, high
    while 0 < first < high and rows[first - 1].at == rows[first].at:
        first -= 1
    while low < last < len(rows) and rows[last].at == rows[last - 1].at:
        last += 1
    ordered = sorted(rows[first:last], key=lambda event: (event.at, rng.random()))
    return ordered[low - first : high - first]
