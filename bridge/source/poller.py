"""One source at work: polls, sweeps and climbs, and commits what they find with its checkpoint.

A turn is one poll. It reads from the newest event down (`sweep.forward`); when that is too much,
it climbs from the old end up (`climb.climb`), several windows to a transaction, and goes on polling
for what is new between the climb's requests. Lists that show the oldest event first are read by
`rising.py`. When nothing is waiting, runs are audited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from bridge import telemetry
from bridge.clock import EARLIEST, SECOND, Clock, Micros
from bridge.config import SourceSettings
from bridge.missions.client import MissionsClient
from bridge.source import certificate, gaps, lateness, lists, rising, sweep
from bridge.source.auditor import Auditor
from bridge.source.certificate import Finding, Pass, Proof
from bridge.source.checkpoint import Climb, Hole, Position
from bridge.source.climb import climb as ascend
from bridge.source.climb_group import QUIET_WINDOWS, Group
from bridge.source.reader import Otherwise, Reader
from bridge.source.sweep import BEGINNING, Found, Item, Swept
from bridge.source.transaction import BATCH_ITEMS, Committer

DEEP_PARTS: Final = 10
"""A deep sweep is due so many times in the lateness window ..."""

SHARE: Final = 5
"""... but takes no more than one part in so many of the time; so does the tail of a climb."""


class Poller:
    """Reads one feed and publishes it, as the only owner of its checkpoint."""

    def __init__(
        self,
        settings: SourceSettings,
        client: MissionsClient,
        clock: Clock,
        committer: Committer,
        reader: Reader,
        auditor: Auditor,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._may_go_on = may_go_on
        self._settings = settings
        self._clock = clock
        self._committer = committer
        self._reader = reader
        self._auditor = auditor
        self._feed = lists.feed(client)
        self._configured = lateness.configured(settings)
        self._deep_at = 0.0
        self._quiet = False
        self._tail_at = 0.0
        self._end = 0
        self._passes = committer.state.sweep
        self.checkpoint = committer.state
        self.fresh_until: Micros | None = None

    @property
    def lateness(self) -> Micros:
        """The lateness window in use."""
        return lateness.window(self._configured, self.checkpoint.position.worst_late)

    async def turn(self) -> bool:
        """Poll once, then audit until the next poll is due; True if more is waiting.

        Raises what the API client and the writer raise; the checkpoint is then as committed.
        """
        until = self._clock.monotonic() + self._settings.poll_interval
        try:
            if await self._poll():
                return True
        except Otherwise as error:
            telemetry.list_served_otherwise(self._settings.name, str(error))
            return True
        if not self._may_go_on():
            return False
        # Of two clocks the one that is behind: listings must really be a lateness window apart.
        here = self._clock.now()
        now = here if self.fresh_until is None else min(here, self.fresh_until)
        return await self._auditor.work(self._proof("runs", BEGINNING, now), until)

    async def _poll(self) -> bool:
        state, reader = self.checkpoint, self._reader
        if state.is_new and self._settings.start != "earliest":
            await self._begin()
            return True
        reader.begin()
        if state.position.climb is not None:
            return await self._climb(state.position.climb, total=self._end)
        now, stop = self._clock.monotonic(), self._stop()
        deep = now >= self._deep_at
        if reader.rising:
            steps = rising.top(stop, reader.largest, state.seen.__contains__, self._end)
        else:
            steps = sweep.forward(stop, reader.largest, state.seen.__contains__, deep=deep)
        swept = await reader.drive(self._feed, steps)
        if swept is None:
            return False
        self._end = swept.total
        backlog = swept.backlog and (deep or not self._quiet)
        if backlog or (reader.rising and deep):
            kind: Pass = "climb" if backlog else "deep"
            # The height of the first window, should the server's clock be far behind its events.
            until = swept.links[0].oldest or swept.server_time
            climb = Climb(stop, swept.server_time, max(until, swept.server_time))
            more = await self._climb(climb, total=swept.total, kind=kind)
            self._quiet = not more
            if not more:  # a climb that got ahead is looked over at once
                self._plan_deep(now)
            return more
        proof = self._proof("deep" if deep else "shallow", stop, swept.server_time)
        await self._settle(swept, swept.items, proof)
        if deep or swept.complete:
            self._plan_deep(now)
        self._show(swept.server_time)
        return False

    def _plan_deep(self, began: float) -> None:
        """Plan the next deep sweep, given when the one that is over now began."""
        window = self.lateness / SECOND
        took = self._clock.monotonic() - began
        self._deep_at = began + max(window / DEEP_PARTS, took + min(window, (SHARE - 1) * took))

    async def _begin(self) -> None:
        """Decide where a new source starts, and make that durable.

        `latest` remembers what there is within the lateness window, unpublished, so that an event
        which appears late is still told apart.
        """
        proof = self._proof("shallow", BEGINNING, self._clock.now())
        if isinstance(self._settings.start, int):
            floor = self._settings.start
            await self._committer.commit([], Position(floor=floor, audit_floor=floor), proof)
            return
        reader = self._reader
        if reader.rising:
            steps = rising.top(BEGINNING, reader.largest, lambda _: True, 0)
        else:
            steps = sweep.forward(BEGINNING, reader.largest, lambda _: True, deep=False)
        first = await reader.drive(self._feed, steps)
        if first is None:
            return
        newest = first.server_time if first.newest is None else first.newest
        stop = newest - self.lateness
        items: list[Item] = []

        async def found(one: Found) -> None:
            items.extend(item for item in one.items if item.at >= stop)

        if await reader.whole(self._feed, found, stop) is None:
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

    async def _settle(self, swept: Swept, items: list[Item], proof: Proof) -> None:
        """Publish what a pass found last; the frontier moves with the end of it."""
        state = self.checkpoint
        before = state.position
        position = replace(before, climb=None)
        findings: list[Finding] = []
        if not swept.is_sorted:
            telemetry.order_violated(state.source)
        if swept.bottom is not None:
            position = replace(position, bottom=swept.bottom)
        if before.frontier is None:
            position = replace(position, hole=gaps.unknown_past(before, swept))
        else:
            position, findings = self._suspect(position, proof.stop, swept)
        if proof.kind != "climb":
            findings += self._auditor.mutations(items)
            if position.hole is None:
                position = self._measure(position, items, swept.server_time)
        if swept.complete and swept.newest is not None:
            newest = min(swept.newest, self._reader.settled())
            position = replace(position, frontier=self._ahead(newest))
        items = [*items, *self._reader.strays.values()]
        await self._committer.commit_all(items, position, _proven(proof, swept), findings)
        telemetry.swept(state.source, proof.kind, self._reader.requests)

    def _suspect(
        self, position: Position, stop: Micros, swept: Swept
    ) -> tuple[Position, list[Finding]]:
        """Note gaps; audits look into them, and into what is added to them meanwhile."""
        before, now = self.checkpoint.position, self._reader.server_now()
        out_of_reach = gaps.out_of_reach(before, now, self.lateness, self._configured.lateness_max)
        fallen_off = gaps.fallen_off(before, stop, swept.bottom) if swept.gap else None
        position, findings = self._noted(position, fallen_off)
        position, more = self._noted(position, out_of_reach)
        return position, findings + more

    def _noted(self, position: Position, gap: Hole | None) -> tuple[Position, list[Finding]]:
        """Return the position with a gap, and what is to be told of it."""
        if gap is None:
            return position, []
        self._auditor.note_gap(gap)
        if position.hole is not None:
            return replace(position, hole=position.hole.with_gap(gap)), []
        telemetry.gap_suspected(self._settings.name)
        return replace(position, hole=gap), [certificate.gap(self._settings.name, gap)]

    def _measure(self, position: Position, items: list[Item], server_time: Micros) -> Position:
        """Take note of how late the new ones among `items` are."""
        state = self.checkpoint
        unseen = (one for one in items if one.is_dated and one.digest not in state.seen)
        new = [one for one in unseen if one.at >= state.position.oldest]
        measured = lateness.how_late(new, state.position.frontier)
        telemetry.lateness_measured(state.source, [by / SECOND for by in measured])
        worst = lateness.worst(position.worst_late, measured, server_time)
        return replace(position, worst_late=worst)

    async def _climb(self, climb: Climb, total: int, kind: Pass = "climb") -> bool:
        """Climb until the backlog is published; True if more may be waiting."""
        reader = self._reader
        proof = self._proof(kind, climb.low, climb.began)
        group = Group(proof, self._clock.monotonic())
        up = rising.rise if reader.rising else ascend

        async def found(one: Found) -> None:
            seen = self.checkpoint.seen
            new = [item for item in one.items if item.digest not in seen]
            if new and not group.items:
                group.since = self._clock.monotonic()
            group.items += new
            group.links += one.links
            group.low, group.short = one.low, one.short
            if group.full(self._clock.monotonic()):
                await self._commit_group(group, climb)

        async def tail() -> None:
            # First the climb's own progress, or a process that is killed often gets nowhere.
            progress = kind == "climb" and group.low is not None
            began = self._clock.monotonic()
            if progress and began >= self._tail_at:
                await self._commit_group(group, climb)
                await self._tail(climb)
                took = self._clock.monotonic() - began
                self._tail_at = began + max(self._settings.poll_interval, SHARE * took)

        self._tail_at = self._clock.monotonic() + self._settings.poll_interval
        before = self.checkpoint.published
        steps = up(climb.low, climb.began, reader.largest, total, climb.top)
        swept = await reader.drive(self._feed, steps, found, tail)
        if swept is None:
            await self._commit_group(group, climb)
            return True
        swept = replace(swept, links=(*group.links, *swept.links))
        # A list that could not be climbed further was read whole, and may show what is older.
        items = sorted([*group.items, *swept.items], key=lambda one: one.at)
        await self._settle(swept, items, proof)
        self._show(climb.began)
        return kind == "climb" and swept.complete and self.checkpoint.published != before

    async def _commit_group(self, group: Group, climb: Climb) -> None:
        if group.low is None or not (group.items or len(group.links) >= QUIET_WINDOWS):
            return
        # Another process may end this climb: it has to know how old its windows were.
        began = min(climb.began, self._reader.as_of)
        before, findings = self.checkpoint.position, list[Finding]()
        position = replace(before, climb=Climb(group.low, began, climb.top))
        if group.short is not None:
            position = replace(position, bottom=group.short)
            gap = gaps.fallen_off(before, group.proof.stop, group.short)
            position, findings = self._noted(position, gap)
        proof = replace(group.proof, links=tuple(group.links))
        items = [*group.items, *self._reader.strays.values()]
        await self._committer.commit_all(items, position, proof, findings)
        self._show(min(group.low, climb.began))
        group.items, group.links = [], []

    async def _tail(self, climb: Climb) -> None:
        """Publish what came after the climb began, so that it need not wait for the climb.

        Nothing is proven by it: once the climb is over, a deep sweep reads it all again.
        """
        reader, seen = self._reader, self.checkpoint.seen
        if reader.rising:
            steps = rising.top(climb.top, reader.largest, seen.__contains__, self._end)
        else:
            steps = sweep.forward(climb.top, reader.largest, seen.__contains__, deep=False)
        swept = await reader.drive(self._feed, steps)
        if swept is None or swept.backlog or not swept.is_sorted:
            return
        self._end = swept.total
        items = [item for item in swept.items if item.at > climb.top]
        proof = _proven(self._proof("shallow", climb.top, swept.server_time), swept)
        await self._committer.commit_all(items, self.checkpoint.position, proof)

    def _proof(self, kind: Pass, stop: Micros, server_time: Micros) -> Proof:
        """Begin the certificate of a pass."""
        self._passes += 1
        return Proof(kind, self._passes, server_time, stop, self.lateness)

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
        stop = settled - self.lateness - self._reader.server.step
        stop = max(stop, position.frontier - self._configured.lateness_max, position.oldest)
        return BEGINNING if stop <= EARLIEST else stop

    def _ahead(self, newest: Micros) -> Micros:
        """Return the frontier moved to `newest`; it never goes back."""
        frontier = self.checkpoint.position.frontier
        return newest if frontier is None else max(frontier, newest)

    def _show(self, fresh_until: Micros) -> None:
        self.fresh_until = fresh_until
        position = self.checkpoint.position
        until = position.complete_until(self.lateness)
        telemetry.position(
            self._settings.name,
            frontier=position.frontier and position.frontier / SECOND,
            complete_until=until and until / SECOND,
            fresh_until=fresh_until / SECOND,
            lateness=self.lateness / SECOND,
            clock_step=self._reader.server.step / SECOND,
        )


def _proven(proof: Proof, swept: Swept) -> Proof:
    return replace(proof, complete=swept.complete, is_sorted=swept.is_sorted, links=swept.links)
