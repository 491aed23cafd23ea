"""The server's clock as a lower bound: what its `Date` headers say, less any step they made."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from bridge.clock import SECOND, Micros

BUCKET = 10.0
"""Observations within so many seconds are kept as one: their smallest and largest offset."""


@dataclass(slots=True)
class _Bucket:
    since: float
    smallest: Micros
    largest: Micros


@dataclass(slots=True)
class ServerClock:
    """Compares `Date` with monotonic time over the last `memory` seconds.

    A clock that ran ahead and was set back has stamped events later than it will stamp the next
    ones; a single answer from a machine whose clock is wrong looks the same. In both cases the
    smallest offset seen is the one to believe, and the size of the step is how much further back
    a sweep has to look.

    `Date` was written at some moment between the request and the end of its answer, so each answer
    gives two offsets, and a slow one no reason to believe in a step.
    """

    memory: float
    _buckets: deque[_Bucket] = field(default_factory=deque)

    def observe(self, date: Micros, sent: float, took: float) -> Micros:
        """Take the `Date` of an answer; return a lower bound of the server's time at `sent`.

        `sent` is the monotonic time of the request, `took` the seconds until it was answered.
        """
        most, least = date - round(sent * SECOND), date - round((sent + took) * SECOND)
        if self._buckets and sent - self._buckets[-1].since < BUCKET:
            last = self._buckets[-1]
            last.smallest = min(last.smallest, most)
            last.largest = max(last.largest, least)
        else:
            self._buckets.append(_Bucket(sent, most, least))
        while self._buckets[0].since < sent - self.memory:
            self._buckets.popleft()
        return round(sent * SECOND) + min(least, *(bucket.smallest for bucket in self._buckets))

    def bound(self, at: float) -> Micros | None:
        """Return a lower bound of the server's time at a monotonic time; None: nothing observed."""
        smallest = min((bucket.smallest for bucket in self._buckets), default=None)
        return None if smallest is None else round(at * SECOND) + smallest

    @property
    def step(self) -> Micros:
        """By how much the server's clock moved against monotonic time; at most 2 s are noise."""
        if not self._buckets:
            return 0
        smallest = min(bucket.smallest for bucket in self._buckets)
        step = max(bucket.largest for bucket in self._buckets) - smallest
        return step if step > 2 * SECOND else 0
