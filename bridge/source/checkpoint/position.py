"""How far a source has come: its frontier, what it climbs, what it knows to be missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.clock import EARLIEST, Micros
from bridge.source.reading.windows import BEGINNING


@dataclass(frozen=True, slots=True)
class Climb:
    """A backlog that is being read from its old end up.

    `began` is a lower bound of the server's time at its start, `until` the height at which it ends:
    where the server's clock is behind its own events, that is higher.
    """

    low: Micros
    began: Micros
    until: Micros = BEGINNING

    @property
    def top(self) -> Micros:
        """What is newer than this is left to the polls beside it, and to the sweep after it."""
        return max(self.began, self.until)


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of time of which the feed may have lost events before they were read."""

    low: Micros
    high: Micros | None

    def with_gap(self, other: Hole) -> Hole:
        """Return the hole that holds both."""
        highs = (high for high in (self.high, other.high) if high is not None)
        return Hole(min(self.low, other.low), max(highs, default=None))


@dataclass(frozen=True, slots=True)
class Late:
    """By how much an event lay below the frontier when it was first seen, and when that was."""

    by: Micros
    at: Micros


@dataclass(frozen=True, slots=True)
class Configured:
    """Settings of the bridge that works on a source: bounds of the window, time between audits."""

    lateness: Micros
    lateness_max: Micros
    audit_interval: Micros


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source stands; `floor` is where it was told to start, None for everything.

    Digests are kept from `kept_from` on: nothing older is published, unless an audit has proved
    that it never was. Audits and run summaries leave out what is older than `audit_floor`. Runs
    that began before `runs_until`, less the lateness window, are known, or known and closed.
    `bottom` is the timestamp of the feed's oldest event when its end was proven last.
    """

    frontier: Micros | None = None
    floor: Micros | None = None
    climb: Climb | None = None
    kept_from: Micros | None = None
    audit_floor: Micros | None = None
    runs_until: Micros | None = None
    worst_late: Late | None = None
    hole: Hole | None = None
    bottom: Micros | None = None

    @property
    def oldest(self) -> Micros:
        """Events older than this are not published."""
        return max(one for one in (self.floor, self.kept_from, BEGINNING) if one is not None)

    @property
    def counted_from(self) -> Micros:
        """Run summaries count events from here on."""
        return BEGINNING if self.audit_floor is None else self.audit_floor

    def oldest_read(self, keep: Micros) -> Micros:
        """Return the oldest time that a sweep may still read; `keep` is the lateness cap."""
        if self.climb is not None:
            height = min(self.climb.low, self.climb.began)
            return BEGINNING if height == BEGINNING else max(EARLIEST, height - keep)
        return BEGINNING if self.frontier is None else max(EARLIEST, self.frontier - keep)

    def complete_until(self, lateness: Micros) -> Micros | None:
        """Return the watermark: up to it, all that the lists show is published; None: not known.

        Nothing is known before the first sweep is over: what fell off the feed stands in the runs.
        """
        if self.frontier is None:
            return None
        marks = [self.frontier - lateness]
        if self.climb is not None:
            marks.append(min(self.climb.low, self.climb.began) - lateness)
        if self.hole is not None:
            marks.append(self.hole.low - 1)
        until = min(marks)
        return None if until < 0 else until
