"""The breaker: when most of what comes turns invalid, something is wrong that burying hides."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

LAST = 1_000
"""Records that are looked back on."""

MOST_DEAD = 0.2
"""Share of them that may have become dead letters."""

FEWEST = 200
"""Dead letters among them below which nothing is concluded."""


class Breaker:
    """Counts what became of the last records of a process.

    Who lifts the brake that it sets wants what is there taken up, whatever it is: only what came
    later counts. From the setting on nothing counts, until `begin` says where the later begins.
    """

    def __init__(self) -> None:
        self._dead: deque[bool] = deque(maxlen=LAST)
        self._begins: Mapping[int, int] | None = {}

    @property
    def suspended(self) -> bool:
        """Whether nothing counts."""
        return self._begins is None

    def suspend(self) -> None:
        """Count nothing until `begin`: the brake is set."""
        self._begins = None
        self._dead.clear()

    def begin(self, offsets: Mapping[int, int]) -> None:
        """Count records from these offsets on; those of a partition that is not named all count."""
        self._begins = offsets

    def count(self, partition: int, offset: int, *, dead: bool) -> str | None:
        """Count a record; return why no more may be taken up, if so, and then suspend."""
        if self._begins is None or offset < self._begins.get(partition, 0):
            return None
        self._dead.append(dead)
        many, among = sum(self._dead) if dead else 0, len(self._dead)
        if many < FEWEST or many <= MOST_DEAD * among:
            return None
        self.suspend()
        return f"{many} of the last {among} records became dead letters"
