"""How many transactions one owner may lose before starting anew is the better way."""

from __future__ import annotations

from collections import deque
from typing import Final

from bridge.errors import GaveUp, TransactionLost

RESETS: Final = 3
RESET_SECONDS: Final = 300.0
"""More than RESETS lost transactions within so many seconds: end the process."""


class Resets:
    """Counts the lost transactions of one owner; `part` is its name in the message."""

    def __init__(self, part: str) -> None:
        self._part = part
        self._at: deque[float] = deque()

    def count(self, error: TransactionLost, now: float) -> None:
        """Count one at `now`, monotonic; raises GaveUp when they are too many."""
        self._at.append(now)
        while self._at[0] < now - RESET_SECONDS:
            self._at.popleft()
        if len(self._at) > RESETS:
            raise GaveUp(
                f"{self._part}: {len(self._at)} transactions were lost within"
                f" {RESET_SECONDS:.0f} s, the last one: {error}. Restart; nothing is lost"
            ) from error
