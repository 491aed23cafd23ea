"""What may happen to processes and to their transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

from simulation.virtual import passing


class Fate(Enum):
    """What becomes of one transaction."""

    FINE = "committed"
    KILLED_BEFORE = "killed before anything is written"
    KILLED_BETWEEN = "killed while its records are written"
    KILLED_BEFORE_END = "killed before its end is sent"
    KILLED_AFTER = "killed after its commit"
    BATCH_REFUSED = "robbed of a batch"
    BATCH_UNANSWERED = "written, but not acknowledged"
    END_REFUSED = "refused its end"
    END_LOST = "left without an end, which is lost"
    END_UNANSWERED = "left without an answer to its end"
    END_REPEATED = "ended twice"


KILLED = (
    Fate.KILLED_BEFORE,
    Fate.KILLED_BETWEEN,
    Fate.KILLED_BEFORE_END,
    Fate.KILLED_AFTER,
    Fate.KILLED_AFTER,
    Fate.KILLED_AFTER,
)
DOUBTFUL = (
    Fate.BATCH_REFUSED,
    Fate.BATCH_UNANSWERED,
    Fate.END_REFUSED,
    Fate.END_LOST,
    Fate.END_UNANSWERED,
)


@dataclass(frozen=True, slots=True)
class Chaos:
    """Shares of transactions, chances a second, and how many processes there are."""

    killed: float = 0.0
    """Share of transactions in which the process is killed, half of them after the commit."""
    doubtful: float = 0.0
    """Share that fails, or of which nobody hears how it ended."""
    repeated: float = 0.0
    """Share whose end is sent twice, the first copy arriving later."""
    killed_reading: float = 0.0
    """Share of requests to the API in which the process is killed."""
    replicas: int = 1
    frozen: float = 0.0
    """Chance that the owner is frozen, for longer than its session lasts or not."""
    handed_over: float = 0.0
    """Chance that the group gives the source to another, who begins before the first one ends."""
    down: float = 3.0
    """Seconds at most until another process starts where one died."""
    deaf: float = 3.0
    """Seconds at most until a member hears what the group decided."""
    foreign: float = 0.0
    """Chance that a stranger leaves a transaction open on the checkpoint's partition."""
    slow: float = 0.01
    """Share of batches of a transaction before which seconds pass."""
    kafka_away: float = 0.0
    """Chance that the brokers are away for a while."""

    def fate(self, rng: Random) -> Fate:
        """Draw what becomes of a transaction."""
        if not (self.killed or self.doubtful or self.repeated):
            return Fate.FINE
        luck = rng.random()
        if luck < self.killed:
            return rng.choice(KILLED)
        if luck < self.killed + self.doubtful:
            return rng.choice(DOUBTFUL)
        if luck < self.killed + self.doubtful + self.repeated:
            return Fate.END_REPEATED
        return Fate.FINE


async def meddle(
    kinds: Mapping[Callable[[], Any], float], rng: Random, is_calm: Callable[[], bool]
) -> None:
    """Let things happen by chance, each so often a second, until it is calm."""
    total = sum(kinds.values())
    while total:
        await passing(rng.expovariate(total))
        if is_calm():
            return
        (happen,) = rng.choices(list(kinds), list(kinds.values()))
        happen()
