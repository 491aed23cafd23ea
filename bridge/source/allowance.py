"""How much of the time some work may take. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """Lets work take one part in `parts` of the time at most. All times in monotonic seconds.

    Requests of one source follow each other, so a part of its time is at most that part of the
    rate budget as well.
    """

    parts: int
    _at: float = -math.inf

    def allows(self, now: float) -> bool:
        """Whether the work may go on."""
        return now >= self._at

    def spend(self, began: float, now: float, saved: float) -> None:
        """Take note that the work went on from `began` until `now`.

        It may use up at once what it left over in the last `saved` seconds.
        """
        self._at = max(self._at, began - saved) + self.parts * (now - began)
