"""What is published of each run: enough to tell late events, lost ones, and a complete run. Pure.

A summary outlives the digests of the run's events. Its count and XOR tell whether a listing of the
run shows just what was published, also where the single digests are long expired.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from bridge.clock import Micros
from bridge.source.reading.windows import BEGINNING, Item

Stage = Literal["open", "gone", "sealed", "closed"]
"""gone: the API says that it is not there, to be asked again. sealed: complete, to be looked at
once more. closed: nothing more is expected of it."""


def fold(digests: Iterable[bytes]) -> int:
    """Return the XOR of digests: it does not depend on their order."""
    folded = 0
    for one in digests:
        folded ^= int.from_bytes(one, "big")
    return folded


@dataclass(frozen=True, slots=True)
class Listing:
    """What a run's own list showed, and when; nothing for a run that is gone, since when."""

    count: int
    digest: int
    at: Micros


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The published events of one run (dead letters included), and what is known of the run.

    `count` is None for runs of which an older version had published something uncounted.
    """

    newest: Micros = BEGINNING
    first: Micros | None = None
    count: int | None = 0
    digest: int = 0
    mission_id: str | None = None
    finished: Micros | None = None
    listed: Listing | None = None
    stage: Stage = "open"

    def with_events(self, items: list[Item], newest: Micros, counted_from: Micros) -> RunSummary:
        """Return it with `items` written as well; those before `counted_from` are not counted.

        `newest` is the newest timestamp of those that became events.
        """
        counted = [item for item in items if item.at >= counted_from]
        firsts = [item.at for item in counted] + ([] if self.first is None else [self.first])
        return replace(
            self,
            newest=max(self.newest, newest),
            first=min(firsts, default=None),
            count=None if self.count is None else self.count + len(counted),
            digest=self.digest ^ fold(item.digest for item in counted),
            stage="open",
        )
