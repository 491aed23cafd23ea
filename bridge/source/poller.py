"""One source at work, a turn at a time.

A turn is one poll: a shallow pass from the newest event down to what is known, which publishes what
is new. Then a deep pass goes on for a part of the time: it reads what the lateness window holds
once more, finds what came late, and moves the frontier. What is left of the time until the next
poll is for audits of runs. More than a poll may hold is a backlog, see `backlog.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bridge import telemetry
from bridge.clock import SECOND, Clock, Micros
from bridge.config.models import SourceSettings
from bridge.errors import ApiError, ApiRejected
from bridge.missions.client import MissionsClient
from bridge.source.allowance import Allowance
from bridge.source.audits.auditor import Auditor
from bridge.source.backlog import Backlog
from bridge.source.checkpoint.position import Climb, Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.long_pass import LongPass
from bridge.source.progress import Progress
from bridge.source.reading import climb, lists, rising, sweep
from bridge.source.reading.reader import ListReader, Pass, ServedOtherwise
from bridge.source.reading.windows import BEGINNING, Found, Item, Swept
from bridge.source.writing.transaction import BATCH_ITEMS, Committer

DEEP_PARTS: Final = 10
"""A deep pass is due so many times in the lateness window as it is set ..."""

SHARE: Final = 5
"""... but takes no more than one part in so many of the time, whatever the window holds."""


class Poller:
    """Reads one feed and publishes it, as the only owner of its checkpoint."""

    def __init__(
        self,
        settings: SourceSettings,
        client: MissionsClient,
        clock: Clock,
        committer: Committer,
        reader: ListReader,
        auditor: Auditor,
        progress: Progress,
        backlog: Backlog,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._may_go_on = may_go_on
        self._settings = settings
        self._clock = clock
        self._committer = committer
        self._reader = reader
        self._auditor = auditor
        self._progress = progress
        self._backlog = backlog
        self._feed = lists.feed(client)
        self._due = -math.inf
        self._end = 0
        self._deep: LongPass | None = None
        self._deep_at = -math.inf
        self._deep_rows = 0
        self._share = Allowance(SHARE)
        self._climb_at = -math.inf

    @property
    def checkpoint(self) -> Checkpoint:
        """The state of the source as it was committed last."""
        return self._progress.checkpoint

    @property
    def fresh_until(self) -> Micros | None:
        """Up to here everything the feed shows is published, but for what shows late."""
        return self._progress.fresh_until

    @property
    def lateness(self) -> Micros:
        """The lateness window in use."""
        return self._progress.lateness

    @property
    def due(self) -> float:
        """When the next poll is due, in monotonic seconds."""
        return self._due

    async def turn(self) -> bool:
        """Poll once, go on with a deep pass, and audit until the next poll is due.

        Does not poll where that was done within the poll interval, between two pages of an audit.
        True if more is waiting. Raises what the API client and the writer raise; the checkpoint is
        then as committed.
        """
        now = self._clock.monotonic()
        if now >= self._due:
            try:
                if await self._poll():
                    return True
                await self._deepen_for_a_while()
            except ServedOtherwise as error:
                self._begin_anew(error)
                return True
            self._due = now + self._settings.poll_interval
        if not self._may_go_on():
            return False
        # Of two clocks the one that is behind: listings must really be a lateness window apart.
        here, fresh_until = self._clock.now(), self.fresh_until
        now = here if fresh_until is None else min(here, fresh_until)
        proof = self._progress.proof("runs", BEGINNING, now)
        # Polls that are as slow as they are frequent must not keep audits from their part.
        part = self._settings.poll_interval / SHARE
        until = max(self._due, self._clock.monotonic() + part)
        return await self._auditor.work(proof, until, self._poll_in_between)

    async def _poll(self) -> bool:
        """Publish what is new; True if more of it is waiting."""
        position = self.checkpoint.position
        if self.checkpoint.is_new and self._settings.start != "earliest":
            await self._begin()
            return True
        if position.climb is not None:
            return await self._climb(position.climb, self._end)
        stop = self._progress.stop()
        swept = await self._shallow(stop)
        if swept is None or not self._is_climbed(swept):
            return False
        return await self._climb(Climb(stop, swept.server_time, swept.height), swept.total)

    async def _poll_in_between(self) -> float:
        """Poll while a long list is read for an audit; return when that is due again.

        A backlog is left for the next turn, which then begins with a poll.
        """
        self._due, due = -math.inf, self._clock.monotonic() + self._settings.poll_interval
        try:
            swept = await self._shallow(self._progress.stop())
            await self._deepen_for_a_while()
        except ServedOtherwise as error:
            self._begin_anew(error)
            return due
        if swept is not None and not self._is_climbed(swept):
            self._due = due
        return due

    def _begin_anew(self, error: ServedOtherwise) -> None:
        """Give up what was read of a list that is served otherwise."""
        self._deep = None
        telemetry.list_served_otherwise(self._settings.name, str(error))

    async def _shallow(self, stop: Micros) -> Swept | None:
        """Publish what is new, unless that is a backlog; None when it was interrupted."""
        began = self._clock.monotonic()
        one = self._top(stop, self.checkpoint.seen.__contains__)
        swept = await self._reader.drive(one)
        if swept is None:
            return None
        self._end = swept.total
        if self._is_climbed(swept):
            return swept
        proof = self._progress.proof("shallow", stop, swept.server_time)
        await self._progress.settle(one, swept, swept.items, proof)
        self._progress.show(swept.server_time)
        if swept.complete:  # it was as deep as any
            self._deep = None
            self._plan_deep(began)
        elif self._deep is None and began >= self._deep_at:
            self._deep = self._begin_deep(stop, swept)
            self._plan_deep(began)
        return swept

    def _is_climbed(self, swept: Swept) -> bool:
        """Whether what a poll found is left to a climb."""
        return swept.backlog and self._clock.monotonic() >= self._climb_at

    def _top(self, stop: Micros, known: Callable[[bytes], bool]) -> Pass[Swept]:
        """Begin a pass over what is newest."""
        reader = self._reader
        if reader.rising:
            steps = rising.top(stop, reader.largest, known, self._end)
        else:
            steps = sweep.forward(stop, reader.largest, known, deep=False)
        return reader.begin(self._feed, steps)

    def _begin_deep(self, stop: Micros, swept: Swept) -> LongPass:
        """Begin to read down to `stop`, after a poll."""
        reader, began = self._reader, swept.server_time

        def length() -> int:
            return reader.total

        if reader.rising:
            steps = rising.rise(stop, began, reader.largest, swept.total, swept.height)
        elif self._deep_rows > sweep.FORWARD_WINDOWS * reader.largest:
            steps = climb.climb(
                stop,
                began,
                reader.largest,
                swept.total,
                swept.height,
                around=self._deep_rows,
                length=length,
            )
        else:
            steps = climb.deep(stop, reader.largest, length=length)
        one = reader.begin(self._feed, steps)
        return LongPass(self._progress, self._clock, one, self._progress.proof("deep", stop, began))

    async def _deepen_for_a_while(self) -> None:
        """Go on with the deep pass for its part of the time."""
        until = self._clock.monotonic() + self._settings.poll_interval
        while self._deep is not None and self._may_go_on():
            now = self._clock.monotonic()
            if now >= until or not self._share.allows(now):
                return
            await self._deepen(self._deep)

    async def _deepen(self, deep: LongPass) -> None:
        """Make one request of the deep pass, and take note of the time that it took."""
        began = self._clock.monotonic()
        try:
            if not await self._reader.step(deep.reading, deep.found):
                return
            swept = deep.reading.result
            if swept is not None:
                self._deep = None
                self._deep_rows = deep.rows
                self._climb_at = -math.inf
                await deep.finish(swept)
        except ApiRejected:
            self._deep = None
            raise
        except ApiError as error:
            if error.too_much:  # it asks for pages of a size that is no longer asked for
                self._deep = None
            raise
        finally:
            now = self._clock.monotonic()
            self._share.spend(began, now, self._settings.poll_interval)

    def _plan_deep(self, began: float) -> None:
        """Plan the next deep pass, given when the one before began.

        A window that was widened makes passes longer, which they may be, and not rarer.
        """
        self._deep_at = began + self._settings.lateness / DEEP_PARTS

    async def _climb(self, backlog: Climb, total: int) -> bool:
        """Climb a backlog; True if there may be another."""
        self._deep = None
        climbed = await self._backlog.climb(backlog, total)
        if climbed is None:
            return True
        # A deep pass looks it over: beside polls, audits and commands, so at once.
        self._deep_at = now = self._clock.monotonic()
        if climbed.news:
            window = self.lateness / SECOND
            self._climb_at = now + min(window, (SHARE - 1) * climbed.in_vain)
        else:  # it cannot be got at by climbing: the deep pass will say how it stands
            self._climb_at = math.inf
        return climbed.news > 0

    async def _begin(self) -> None:
        """Decide where a new source starts, and make that durable.

        `latest` remembers what there is within the lateness window, unpublished, so that an event
        which appears late is still told apart.
        """
        proof = self._progress.proof("shallow", BEGINNING, self._clock.now())
        if isinstance(self._settings.start, int):
            floor = self._settings.start
            await self._committer.commit([], Position(floor=floor, audit_floor=floor), proof)
            return
        first = await self._reader.drive(self._top(BEGINNING, lambda _: True))
        if first is None:
            return
        newest = first.server_time if first.newest is None else first.newest
        stop = newest - self.lateness
        items: list[Item] = []

        async def found(one: Found) -> None:
            items.extend(item for item in one.items if item.at >= stop)

        if await self._reader.whole(self._feed, found, stop) is None:
            return
        if not items and not first.items:
            await self._committer.commit([], Position(), proof)
            return
        # Until all of it is remembered nothing older than `newest` may be published.
        started = Position(newest, newest + 1, audit_floor=newest + 1)
        for begin in range(0, len(items), BATCH_ITEMS):
            part = items[begin : begin + BATCH_ITEMS]
            await self._committer.commit(part, started, proof, publish=False)
        await self._committer.commit([], replace(started, floor=stop), proof, publish=False)
