"""What becomes of requests to the API and of their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Final


class Road(Enum):
    """What becomes of one request."""

    FINE = "answered"
    REFUSED = "not let in: no connection"
    RESET = "carried out, then the connection breaks"
    SILENT = "carried out, and never answered"
    VANISHED = "lost before it arrives, the connection breaks"
    SWALLOWED = "lost before it arrives, and never answered"
    FAILED = "carried out and answered 500"
    UNSERVED = "answered 503 and not carried out"
    BROKEN = "carried out, the answer is no JSON"
    REDIRECTED = "carried out and answered with a redirect"
    INTERCEPTED = "carried out, and refused by somebody on the way"
    TURNED_AWAY = "refused by somebody on the way, and not carried out"
    NOT_PASSED_ON = "answered 407, 421 or 425"
    LATE = "carried out late, within the settle time, and never answered"
    VERY_LATE = "carried out after the settle time, and never answered"
    THROTTLED = "answered 429"
    KILLED_BEFORE = "not sent: the process is killed"
    KILLED_UNDER_WAY = "carried out while the process is killed"
    KILLED_ANSWERED = "answered, and the process is killed"
    FROZEN_BEFORE = "not yet sent: the process freezes"
    FROZEN_UNDER_WAY = "carried out while the process is frozen"


CARRIED_OUT: Final = frozenset(
    {
        Road.FINE,
        Road.RESET,
        Road.SILENT,
        Road.FAILED,
        Road.BROKEN,
        Road.REDIRECTED,
        Road.INTERCEPTED,
        Road.LATE,
        Road.VERY_LATE,
        Road.KILLED_UNDER_WAY,
        Road.KILLED_ANSWERED,
        Road.FROZEN_BEFORE,
        Road.FROZEN_UNDER_WAY,
    }
)
ANSWERED: Final = CARRIED_OUT - {
    Road.RESET,
    Road.SILENT,
    Road.FAILED,
    Road.BROKEN,
    Road.REDIRECTED,
    Road.INTERCEPTED,
    Road.LATE,
    Road.VERY_LATE,
}
UNCLEAR: Final = frozenset(
    {
        Road.RESET,
        Road.SILENT,
        Road.VANISHED,
        Road.SWALLOWED,
        Road.FAILED,
        Road.UNSERVED,
        Road.BROKEN,
        Road.REDIRECTED,
        Road.INTERCEPTED,
        Road.TURNED_AWAY,
        Road.LATE,
        Road.VERY_LATE,
    }
)
"""After these nobody can know whether the request was carried out."""

READS: Final = {Road.LATE: Road.SWALLOWED, Road.VERY_LATE: Road.SWALLOWED}
"""What is no different for reads."""


@dataclass(frozen=True, slots=True)
class Roads:
    """Shares of writes and of reads that meet a fate; the rest is answered."""

    writes: Mapping[Road, float] = field(default_factory=dict)
    reads: Mapping[Road, float] = field(default_factory=dict)
    stale: float = 0.0
    """Share of reads that show an old picture."""
    stale_by: float = 20.0
    """How old it is at most, in seconds."""
    forbidden: float = 0.0
    """Share of commands that the API answers 403, whatever key."""
    revocations: float = 0.0
    """Chance a second that the key is refused, for a while."""
    outages: float = 0.0
    """Chance a second that the API is away, for 5 to 100 s."""
    meddling: float = 0.0
    """Chance a second that somebody else changes the status of a run."""
    vanishing: float = 0.0
    """Chance a second that somebody else deletes a mission."""
    forgets_keys: bool = False
    """The API does not know an idempotency_key again."""

    def road(self, rng: Random, *, read: bool) -> Road:
        """Draw what becomes of a request."""
        luck = rng.random()
        for road, share in (self.reads if read else self.writes).items():
            luck -= share
            if luck < 0:
                return READS.get(road, road) if read else road
        return Road.FINE
