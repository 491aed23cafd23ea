"""A pass that is too long for one transaction: its windows are committed in groups."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from bridge.clock import Clock, Micros
from bridge.source.checkpoint.position import Climb
from bridge.source.progress import Progress
from bridge.source.reading.reader import Pass
from bridge.source.reading.windows import Found, Item, Link, Swept
from bridge.source.writing.certificate import Proof

GROUP_ITEMS: Final = 4000
"""A group is committed when it holds so many items: a transaction has a flat cost."""

GROUP_SECONDS: Final = 1.0
"""... or when it has held the first of them for so long."""

QUIET_WINDOWS: Final = 100
"""... or so many windows: over what is known already a climb notes its height at times."""


@dataclass(slots=True)
class _Group:
    """What was read and not committed yet; `since` is when the first of it was new."""

    since: float = 0.0
    items: list[Item] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    low: Micros | None = None
    short: Micros | None = None


class LongPass:
    """Commits what a deep pass or the climb of a backlog hands out.

    A climb (`climb` is not None) stores its height with each group, so that whoever comes after
    goes on from there. A deep pass stores nothing before its end: nearly all of what it reads is
    published, and another one is soon due.
    """

    def __init__(
        self,
        progress: Progress,
        clock: Clock,
        one: Pass[Swept],
        proof: Proof,
        climb: Climb | None = None,
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._group = _Group()
        self._proof = proof
        self._climb = climb
        self._mark = clock.monotonic()
        self.reading = one
        self.news = 0
        """How many items were new."""
        self.rows = 0
        """How many items lie above where it began."""
        self.windows = 0
        self.in_vain = 0.0
        """Seconds spent on windows that showed nothing new."""

    @property
    def has_height(self) -> bool:
        """Whether there is a height to store: windows were linked."""
        return self._group.low is not None

    async def found(self, one: Found) -> None:
        """Take in what the pass hands out; commits when it is much."""
        now, group = self._clock.monotonic(), self._group
        seen = self._progress.checkpoint.seen
        new = [item for item in one.items if item.digest not in seen]
        self.news += len(new)
        self.rows += len(one.items)
        self.windows += len(one.links)
        if not new:
            self.in_vain += now - self._mark
        elif not group.items:
            group.since = now
        self._mark = now
        # Of what is known a deep pass may show that it has other content now.
        group.items += one.items if self._climb is None else new
        group.links += one.links
        group.low, group.short = one.low, one.short
        is_old = bool(new) and now - group.since >= GROUP_SECONDS
        if is_old or len(group.items) >= GROUP_ITEMS or len(group.links) >= QUIET_WINDOWS:
            await self.commit()

    async def commit(self) -> None:
        """Publish what waits, if that is worth a transaction."""
        group, climb = self._group, self._climb
        if group.low is None or not (group.items or len(group.links) >= QUIET_WINDOWS):
            return
        one, proof = self.reading, self._proof
        if climb is None:
            await self._progress.settle_part(one, group.items, group.links, proof)
        else:
            climb = replace(climb, low=group.low)
            await self._progress.settle_climb(
                one, group.items, group.links, proof, climb, group.short
            )
        self._group = _Group(low=group.low)
        self._mark = self._clock.monotonic()

    async def finish(self, swept: Swept) -> None:
        """Publish the rest, and move the frontier."""
        group = self._group
        self.rows += len(swept.items)
        self.windows += len(swept.links)
        swept = replace(swept, links=(*group.links, *swept.links))
        # A list that could not be climbed further was read whole, and may show what is older.
        items = sorted([*group.items, *swept.items], key=lambda one: one.at)
        seen = self._progress.checkpoint.seen
        self.news += sum(1 for item in swept.items if item.digest not in seen)
        await self._progress.settle(self.reading, swept, items, self._proof)
        self._progress.show(self._proof.server_time)
