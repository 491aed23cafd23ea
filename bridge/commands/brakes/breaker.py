"""The breaker: when most of what comes turns invalid, something is wrong that burying hides."""

from __future__ import annotations

from collections import deque

LAST = 1_000
"""Records that are looked back on."""

MOST_DEAD = 0.2
"""Share of them that may have become dead letters."""

FEWEST = 200
"""Dead letters among them below which nothing is concluded."""


class Breaker:
    """Counts what became of the last records of a process."""

    def __init__(self) -> None:
        self._dead: deque[bool] = deque(maxlen=LAST)

    def count(self, *, dead: bool) -> str | None:
        """Count a record; return why no more may be taken up, if so, and then begin anew."""
        self._dead.append(dead)
        many, among = sum(self._dead) if dead else 0, len(self._dead)
        if many < FEWEST or many <= MOST_DEAD * among:
            return None
        self._dead.clear()
        return f"{many} of the last {among} records became dead letters"
