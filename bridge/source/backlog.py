"""A backlog: climbed from its old end up, while what is new goes on to be published.

A poll that finds more than it may hold leaves the feed to a climb. The climb stores its height
with what it publishes. Between its requests the *tail* polls for what came since the climb began.
Runs are kept in order: what the tail finds of a run that began before the climb's top is published
only after the run's own list was, so that the climb has nothing older left to publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge import telemetry
from bridge.clock import Clock
from bridge.errors import ApiError, ApiRejected, InvalidId, RateLimited
from bridge.missions.client import MissionsClient
from bridge.source.allowance import Allowance
from bridge.source.audits.auditor import Auditor
from bridge.source.checkpoint.position import Climb
from bridge.source.long_pass import LongPass
from bridge.source.progress import Progress, proven
from bridge.source.reading import lists, rising, sweep
from bridge.source.reading.climb import climb as ascend
from bridge.source.reading.reader import ListReader
from bridge.source.reading.windows import BEGINNING, Item
from bridge.source.writing.mission_index import MissionIndex

SHARE: Final = 5
"""The tail takes one part in so many of a climb's time at most."""

RUNS_AT_ONCE: Final = 5
"""So many runs are read whole in one turn of the tail at most."""


class Backlog:
    """Climbs the backlog of one source's feed."""

    def __init__(
        self,
        client: MissionsClient,
        clock: Clock,
        progress: Progress,
        reader: ListReader,
        auditor: Auditor,
        index: MissionIndex,
        poll_interval: float,
    ) -> None:
        self._feed = lists.feed(client)
        self._clock = clock
        self._progress = progress
        self._reader = reader
        self._auditor = auditor
        self._index = index
        self._poll_interval = poll_interval
        self._in_order: set[str] = set()
        self._end = 0

    async def climb(self, climb: Climb, total: int) -> LongPass | None:
        """Publish what is there, from `climb.low` up; None when that was interrupted.

        `total` is about where the list ends, 0 if that is not known. Raises Otherwise, and what
        the API client and the writer raise.
        """
        reader, progress = self._reader, self._progress
        if reader.rising:
            steps = rising.rise(climb.low, climb.began, reader.largest, total, climb.top)
        else:
            steps = ascend(
                climb.low,
                climb.began,
                reader.largest,
                total,
                climb.top,
                length=lambda: reader.total,
            )
        one = reader.begin(self._feed, steps)
        proof = progress.proof("climb", climb.low, climb.began)
        climbing = LongPass(progress, self._clock, one, proof, climb)
        tail = Allowance(SHARE)
        tail_at = self._clock.monotonic() + self._poll_interval
        self._in_order, self._end = set(), total

        async def between() -> None:
            nonlocal tail_at
            began = self._clock.monotonic()
            # First the climb's own progress, or a process that is killed often gets nowhere.
            is_due = began >= tail_at and tail.allows(began)
            if climbing.has_height and is_due and not one.is_over:
                await climbing.commit()
                await self._tail(climb)
                tail.spend(began, self._clock.monotonic(), 0.0)
                tail_at = began + self._poll_interval

        swept = await reader.drive(one, climbing.found, between)
        if swept is None:
            await climbing.commit()
            return None
        await climbing.finish(swept)
        await self._tail(climb, climbed=True)
        return climbing

    async def _tail(self, climb: Climb, *, climbed: bool = False) -> None:
        """Publish what came since the climb began, so that it need not wait for the climb.

        Nothing is proven by it: once the climb is over, a deep pass reads it all again.
        """
        reader, progress = self._reader, self._progress
        seen = progress.checkpoint.seen

        def known(digest: bytes) -> bool:
            # Once it is climbed, what was left out before may stand below what is known.
            return not climbed and digest in seen

        if reader.rising:
            steps = rising.top(climb.top, reader.largest, known, self._end)
        else:
            steps = sweep.forward(climb.top, reader.largest, known, deep=False)
        one = reader.begin(self._feed, steps)
        swept = await reader.drive(one)
        if swept is None or swept.backlog or not swept.is_sorted:
            return
        self._end = swept.total
        items = [item for item in swept.items if item.at > climb.top]
        if not climbed:
            items = await self._in_order_of_runs(items, climb)
        proof = progress.proof("shallow", climb.top, swept.server_time)
        await progress.publish(items, proven(proof, swept))

    async def _in_order_of_runs(self, items: Sequence[Item], climb: Climb) -> list[Item]:
        """Return those of `items` whose runs have nothing older that is not published.

        The others are read again when their runs' lists could be read, or after the climb.
        """
        seen = self._progress.checkpoint.seen
        new = {item.run_id for item in items if item.digest not in seen}
        waiting = sorted(new - self._in_order - {""})
        try:
            await self._index.learn(waiting)
            left = RUNS_AT_ONCE
            for run in waiting:
                began, mission_id = self._index.began(run), self._index.get(run)
                if began is not None and began > climb.top:
                    self._in_order.add(run)
                elif mission_id is not None and left:
                    left -= 1
                    await self._publish_run(mission_id, run, climb)
        except RateLimited:
            raise
        except (ApiError, ApiRejected, InvalidId) as error:
            # These runs wait; what is wrong with one must not hold up the climb.
            telemetry.dependency_away("api", str(error), of="events of live runs")
        else:
            telemetry.dependency_back("api", of="events of live runs")
        return [item for item in items if not item.run_id or item.run_id in self._in_order]

    async def _publish_run(self, mission_id: str, run_id: str, climb: Climb) -> None:
        """Publish all that a run's own list shows."""
        items = await self._auditor.events_of(mission_id, run_id)
        if items is not None:
            proof = self._progress.proof("runs", BEGINNING, climb.began)
            await self._progress.publish(items, proof)
            self._in_order.add(run_id)
