"""What reading a steady feed cost, and what became of all that shares its budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.clock import SECOND, Micros
from simulation.oracle_audit import Told
from simulation.scenario import Cost, Scenario
from simulation.virtual import START

FEED = "/events"

COMMIT = 1.5
"""Seconds that a few commits in a row take in a story."""


@dataclass(frozen=True, slots=True)
class Steady:
    """A stretch of a story: `seconds` long, with so many new events."""

    seconds: float
    events: int
    feed: int
    """Requests for the feed."""
    lists: int
    """Requests for the lists of runs."""
    deep: int
    """Deep passes that ended."""
    climbs: int
    """Parts of climbs."""
    freshness: float
    """Seconds from when an event could be seen until it was written: of nine in ten at most.

    One send in a hundred is slow in a story, up to several seconds.
    """

    def beyond(self, scenario: Scenario) -> float:
        """Return the requests for the feed a second, beyond what new events and polls need."""
        needed = self.events / scenario.page + self.seconds / scenario.poll
        return (self.feed - needed) / self.seconds


def steady_state(
    cost: Cost,
    scenario: Scenario,
    asked: Sequence[tuple[Micros, str]],
    told: Sequence[Told],
    written: Sequence[tuple[Micros, Micros]],
) -> Steady:
    """Sum up a story from when it is warm until it calms down.

    `asked` are requests, `written` when each event could be seen and when it was written.
    """
    begin, end = START + round(cost.warm * SECOND), START + round(scenario.seconds * SECOND)
    paths = [path for at, path in asked if begin <= at < end]
    sweeps = [one.record["sweep"] for one in told if _is_sweep(one, begin, end)]
    ended = [(sweep["pass"], sweep["complete"]) for sweep in sweeps]
    waits = sorted(after - before for before, after in written if begin <= before < end)
    return Steady(
        seconds=(end - begin) / SECOND,
        events=len(waits),
        feed=paths.count(FEED),
        lists=sum(1 for path in paths if path.endswith(FEED)) - paths.count(FEED),
        deep=ended.count(("deep", True)),
        climbs=sum(1 for kind, _ in ended if kind == "climb"),
        freshness=waits[int(len(waits) * 0.9)] / SECOND if waits else 0.0,
    )


def too_dear(scenario: Scenario, cost: Cost, steady: Steady) -> Iterator[str]:
    """Name what costs more than it may, and what had no turn."""
    beyond = steady.beyond(scenario)
    if beyond > cost.beyond:
        yield f"{beyond:.2f} requests a second for the feed beyond what is new"
    # The window in use is twice the worst lateness; pages overlap, and the beginning is looked for.
    pages = 2 * scenario.lateness * scenario.weather.rate / scenario.page
    cycle = max(scenario.lateness / 10, (1.5 * pages + 10) / cost.beyond)
    if steady.deep < int(steady.seconds / (1.5 * cycle)):
        yield f"{steady.deep} deep passes in {steady.seconds:.0f} s"
    if steady.lists < int(steady.seconds / scenario.audits):
        yield f"{steady.lists} requests for the lists of runs"
    if steady.climbs:
        yield f"{steady.climbs} parts of climbs, though there is no backlog"
    if steady.freshness > scenario.poll + COMMIT:
        yield f"nine in ten events were written within {steady.freshness:.1f} s"


def _is_sweep(one: Told, begin: Micros, end: Micros) -> bool:
    at: Any = one.record["at"]
    return one.kind == "sweep" and bool(begin <= at < end)
