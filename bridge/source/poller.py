"""One source at work: polls, sweeps and climbs, and commits what they find with its checkpoint.

A turn is one poll. It reads from the newest event down (`sweep.forward`); when that is too much,
it climbs from the old end up (`climb.climb`), several windows to a transaction. What is new is
decided when the transaction begins, against the checkpoint as committed; the checkpoint changes
only after the commit. Any failure leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge import telemetry
from bridge.clock import SECOND, Clock, Micros
from bridge.config import SourceSettings
from bridge.errors import ApiError, ApiRejected
from bridge.kafka.producer import Writer
from bridge.missions.client import MissionsClient
from bridge.source import convert, sweep
from bridge.source.checkpoint import Checkpoint, Climb, Position
from bridge.source.climb import climb as ascend
from bridge.source.enrich import MissionIndex
from bridge.source.publish import Publisher
from bridge.source.server_clock import ServerClock

GROUP_ITEMS: Final = 4000
"""A climb commits when it holds so many items: a transaction has a flat cost."""

GROUP_SECONDS: Final = 1.0
"""... or when it has held the first of them for so long."""

BATCH_ITEMS: Final = 8000
"""Events in one transaction at most."""

DEEP_PARTS: Final = 10
"""A deep sweep is due so many times in the lateness window."""


class Clamped(ApiError):
    """The server uses smaller pages than asked; `size` is its own."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the API answers with pages of {size}; asking for those", executed=None)
        self.size = size


@dataclass(slots=True)
class _Group:
    """Windows of a climb that wait for their transaction."""

    items: list[sweep.Item]
    since: float
    last: sweep.Found | None = None

    def full(self, now: float) -> bool:
        return len(self.items) >= GROUP_ITEMS or now - self.since >= GROUP_SECONDS


class Poller:
    """Reads one feed and publishes it, as the only owner of its checkpoint.

    `may_go_on` is asked after each step that succeeded: is the source still ours, and nobody asks
    to stop?
    """

    def __init__(
        self,
        settings: SourceSettings,
        client: MissionsClient,
        clock: Clock,
        index: MissionIndex,
        publisher: Publisher,
        writer: Writer,
        checkpoint: Checkpoint,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._index = index
        self._publisher = publisher
        self._writer = writer
        self.checkpoint = checkpoint
        self._may_go_on = may_go_on
        self._server = ServerClock(settings.lateness_max)
        self._largest = settings.page_size
        self._lateness = round(settings.lateness * SECOND)
        self._lateness_max = round(settings.lateness_max * SECOND)
        self._deep_at: float | None = None
        self._requests = 0
        self.fresh_until: Micros | None = None

    async def turn(self) -> bool:
        """Poll once; True if more is waiting.

        Raises what the API client and the writer raise; the checkpoint is then as committed.
        """
        try:
            return await self._turn()
        except Clamped as error:
            self._largest = error.size
            return True

    async def _turn(self) -> bool:
        self._requests = 0
        if self.checkpoint.is_new and self._settings.start != "earliest":
            await self._begin()
            return True
        if self.checkpoint.position.climb is not None:
            return await self._climb(self.checkpoint.position.climb, total=0)
        now = self._clock.monotonic()
        deep = self._deep_at is None or now >= self._deep_at + (
            self._settings.lateness / DEEP_PARTS
        )
        seen = self.checkpoint.seen
        swept = await self._drive(
            sweep.forward(self._stop(), self._largest, seen.__contains__, deep=deep)
        )
        if swept is None:
            return False
        if swept.backlog:
            return await self._climb(Climb(self._stop(), swept.server_time), total=swept.total)
        await self._settle(swept, swept.items)
        if deep or swept.complete:
            self._deep_at = now
        telemetry.swept(
            self._settings.name, "deep" if swept.complete else "shallow", self._requests
        )
        self._show(swept.server_time)
        return False

    async def _begin(self) -> None:
        """Decide where a new source starts, and make that durable.

        `latest` remembers what there is within the lateness window, unpublished, so that an event
        which appears late is still told apart.
        """
        if isinstance(self._settings.start, int):
            await self._commit([], Position(floor=self._settings.start))
            return
        first = await self._drive(
            sweep.forward(sweep.BEGINNING, self._largest, lambda _: True, deep=False)
        )
        if first is None:
            return
        if not first.items:
            await self._commit([], Position())
            return
        newest = first.server_time if first.newest is None else first.newest
        stop = newest - self._lateness
        swept = await self._drive(sweep.forward(stop, self._largest, lambda _: False, deep=True))
        if swept is None or not swept.items:
            return
        whole = swept.complete or not swept.is_sorted
        floor = stop if whole else swept.items[0].at + 1
        await self._commit(swept.items, Position(newest, floor), publish=False)

    async def _settle(self, swept: sweep.Swept, items: list[sweep.Item]) -> None:
        """Publish what a pass found last; the frontier moves with the end of it."""
        position = replace(self.checkpoint.position, climb=None)
        if swept.gap and position.frontier is not None:
            telemetry.gap_suspected(self._settings.name)
        if not swept.is_sorted:
            telemetry.order_violated(self._settings.name)
        if swept.complete and swept.newest is not None:
            position = replace(position, frontier=self._ahead(swept.newest))
        await self._commit_all(items, position)

    async def _climb(self, climb: Climb, total: int) -> bool:
        """Climb until the backlog is published; True if it was interrupted."""
        group = _Group([], self._clock.monotonic())
        steps = ascend(climb.low, climb.began, self._largest, total)

        async def found(one: sweep.Found) -> None:
            if not group.items:
                group.since = self._clock.monotonic()
            group.items += one.items
            group.last = one
            if group.full(self._clock.monotonic()):
                await self._commit_group(group, climb.began)

        swept = await self._drive(steps, found)
        if swept is None:
            await self._commit_group(group, climb.began)
            return True
        await self._settle(swept, group.items + swept.items)
        self._deep_at = self._clock.monotonic()
        telemetry.swept(self._settings.name, "climb", self._requests)
        self._show(climb.began)
        return True

    async def _commit_group(self, group: _Group, began: Micros) -> None:
        if group.last is None or not group.items:
            return
        position = replace(self.checkpoint.position, climb=Climb(group.last.low, began))
        await self._commit_all(group.items, position, settled=group.last.newest)
        self._show(min(group.last.low, began))
        group.items = []

    async def _commit_all(
        self, items: list[sweep.Item], position: Position, *, settled: Micros | None = None
    ) -> None:
        """Publish what is new in as many transactions as it takes; the last moves the position."""
        items = [item for item in items if item.digest not in self.checkpoint.seen]
        while len(items) > BATCH_ITEMS:
            await self._commit(items[:BATCH_ITEMS], self.checkpoint.position)
            items = items[BATCH_ITEMS:]
        await self._commit(items, position, settled=settled)

    async def _commit(
        self,
        items: list[sweep.Item],
        position: Position,
        *,
        settled: Micros | None = None,
        publish: bool = True,
    ) -> None:
        """Publish what is new among `items` and move to `position`, in one transaction.

        `settled` is the newest time below which a climb has left nothing; else the frontier is.
        """
        settled = position.frontier if settled is None else settled
        batch = self.checkpoint.plan(
            items,
            position,
            server_time=self._server_now(),
            keep=sweep.BEGINNING if settled is None else settled - self._lateness_max,
            publish=publish,
        )
        unchanged = batch.position == self.checkpoint.position and batch.segment is None
        if unchanged and not self.checkpoint.is_new:
            return
        await self._learn({one.item.run_id for one in batch.fresh})
        records = self._publisher.records(
            self.checkpoint, batch, self._index.get, self._clock.now()
        )
        await self._writer.commit(records)
        self.checkpoint.apply(batch)
        telemetry.events_published(self._settings.name, len(batch.fresh), batch.late)

    async def _learn(self, run_ids: set[str]) -> None:
        """Look up the missions of runs; events are published without them rather than held back."""
        try:
            await self._index.learn(run_ids)
        except (ApiError, ApiRejected) as error:
            telemetry.dependency_away("api", str(error), of="missions of runs")
        else:
            telemetry.dependency_back("api", of="missions of runs")

    async def _drive(
        self, steps: sweep.Reading[sweep.Swept], found: Callable[[sweep.Found], Any] | None = None
    ) -> sweep.Swept | None:
        """Do what a pass asks for until it is done; None when it was interrupted."""
        try:
            step = next(steps)
            while True:
                if isinstance(step, sweep.Found):
                    if found is not None:
                        await found(step)
                    step = next(steps)
                else:
                    step = steps.send(await self._read(step))
                if not self._may_go_on():
                    return None
        except StopIteration as done:
            result: sweep.Swept = done.value
            return result

    async def _read(self, ask: sweep.Ask) -> sweep.Window:
        """Request one window. Raises Clamped, and what the API client raises."""
        self._requests += 1
        page = await self._client.list_events(page=ask.page, size=ask.size)
        if page.size < ask.size:
            raise Clamped(page.size)
        if len(page.items) == ask.size and not convert.any_time(page.items):
            raise ApiError(
                f"none of the {ask.size} events on page {ask.page} has a timestamp that can be "
                "read: has the API changed? Nothing is skipped; it will be asked again",
                executed=None,
            )
        date = self._clock.now() if page.date is None else page.date
        server_time = self._server.observe(date, page.sent, page.took)
        items = convert.items(page.items, otherwise=server_time)
        return sweep.Window(ask, items, server_time, page.total_results)

    def _stop(self) -> Micros:
        """Return the time below which a sweep may stop.

        A server whose clock was set back stamps new events below the frontier.
        """
        position = self.checkpoint.position
        if position.frontier is None:
            return position.oldest
        settled = position.frontier
        if self.fresh_until is not None:
            settled = min(settled, self.fresh_until)
        stop = settled - self._lateness - self._server.step
        return max(stop, position.frontier - self._lateness_max, position.oldest)

    def _ahead(self, newest: Micros) -> Micros:
        """Return the frontier moved to `newest`; it never goes back."""
        frontier = self.checkpoint.position.frontier
        return newest if frontier is None else max(frontier, newest)

    def _server_now(self) -> Micros:
        now = self._clock.now()
        return now if self.fresh_until is None else max(now, self.fresh_until)

    def _show(self, fresh_until: Micros) -> None:
        self.fresh_until = fresh_until
        frontier = self.checkpoint.position.frontier
        telemetry.position(
            self._settings.name, frontier and frontier / SECOND, fresh_until / SECOND
        )
