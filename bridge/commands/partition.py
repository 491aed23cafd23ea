"""A partition of the commands topic in our hands: lanes by key in front of one journal.

A lane is the queue of one record key: one command at a time, in the order of the topic. Lanes run
beside each other, so many at a time; a slow one holds up nobody else until too much waits in all
of them, and those that wait for a brake, the fuse, a look or the registry take nobody's place.
"""

from __future__ import annotations

import asyncio
from collections import deque

from aiokafka import ConsumerRecord

from bridge import telemetry
from bridge.clock import Clock
from bridge.commands.handler import Handler
from bridge.commands.ledger.journal import Journal
from bridge.commands.limits import Shared
from bridge.commands.model import Entry, Received

MOST_WAITING = 16_384
MOST_WAITING_BYTES = 16 * 2**20
"""Records and bytes that may wait in the lanes; at that the partition is paused."""

MOST_READY = 1_000
"""Lanes that may wait for a place: more are no use, unlike records behind those of a busy key."""

LANES_PER_SLOT = 4
"""Lanes that run for each command that may be under way at a time; the others wait their turn."""

MOST_APART = 2_000
"""Lanes beyond those that run although others wait for a brake, the fuse, a look or the registry:
each of them keeps a task, some 10 kB."""

Job = Received | Entry


class Partition:
    """Takes records, hands them to lanes, ends when asked to or when the journal ends."""

    def __init__(
        self, number: int, journal: Journal, shared: Shared, stop: asyncio.Event, patience: float
    ) -> None:
        self.number = number
        self.journal = journal
        self._clock: Clock = shared.clock
        self._stop = stop
        self._patience = patience
        self._shared = shared
        self._handler = Handler(shared, journal, stop)
        # Lists, as most have one job only: that many deques would take ten times the memory.
        self._lanes: dict[bytes | None, list[Job]] = {}
        self._ready: deque[bytes | None] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = False
        self._waiting = 0
        self._bytes = 0

    @property
    def begun(self) -> bool:
        """Whether the ledger was read, so that records can be accepted."""
        return self._begun

    @property
    def idle(self) -> bool:
        """Whether nothing is under way but, at most, the opening of a writer."""
        return not (self._tasks or self.journal.is_open or self.journal.busy)

    @property
    def read_from(self) -> int:
        """The offset to read on from."""
        return max(self.journal.position.next, self.journal.begin)

    @property
    def crowded(self) -> bool:
        """Whether enough waits here."""
        return (
            self._waiting >= MOST_WAITING
            or self._bytes >= MOST_WAITING_BYTES
            or len(self._ready) >= MOST_READY
        )

    @property
    def roomy(self) -> bool:
        """Whether a crowd has gone down far enough to read on."""
        return (
            self._waiting <= MOST_WAITING // 2
            and self._bytes <= MOST_WAITING_BYTES // 2
            and len(self._ready) <= MOST_READY // 2
        )

    @property
    def counts(self) -> dict[str, int]:
        """What /status shows: the low-water mark, commands in progress, records in the lanes."""
        low = self.journal.position.low if self._begun else -1
        in_progress = self._handler.in_progress
        return {"position": low, "in_progress": in_progress, "waiting": self._waiting}

    def accept(self, record: ConsumerRecord[bytes, bytes]) -> None:
        """Put a record into its lane, unless it is complete or in one already."""
        if self._stop.is_set() or not self.journal.position.take(record.offset):
            return
        received = Received(
            partition=record.partition,
            offset=record.offset,
            key=record.key,
            value=record.value,
            headers=tuple((name, value or b"") for name, value in record.headers),
            received_at=self._clock.now(),
            arrived=self._clock.monotonic(),
        )
        self._enqueue(received.key, received, received.size)

    def stop(self) -> None:
        """Start nothing more; `run` ends when what is under way is written."""
        self._stop.set()
        self.journal.leave()
        if not self._tasks:
            self.journal.finish()

    async def run(self) -> None:
        """Own the partition until `stop`; raises what ends the journal, a lane's failure too.

        Calls in flight are waited for, not longer than `patience` seconds, also where their
        outcome cannot be written any more. Cancelled, it waits for nothing.
        """
        try:
            await self.journal.run(self._opened)
        except Exception:
            self._stop.set()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._patience)
            raise
        finally:
            self._stop.set()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _opened(self, unfinished: list[Entry]) -> None:
        """At the first opening take up what the ledger has begun; later it is in lanes already."""
        if self._begun:
            return
        self._begun = True
        low, begin = self.journal.position.next, self.journal.begin
        if low < begin:
            telemetry.commands_gone(self.number, low, begin - 1)
        for entry in unfinished:
            self.journal.position.hold(entry.offset)
            self._enqueue(_origin(entry).key, entry, 0)

    def _enqueue(self, key: bytes | None, job: Job, size: int) -> None:
        self._waiting += 1
        self._bytes += size
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append(job)
            return
        self._lanes[key] = [job]
        if isinstance(job, Entry):
            self._start(key)  # begun: it waits for nobody
        else:
            self._ready.append(key)
            self.advance()

    def advance(self) -> None:
        """Start as many of the lanes that wait as may run."""
        while self._ready and len(self._tasks) < self._most_lanes and not self._stop.is_set():
            self._start(self._ready.popleft())

    @property
    def _most_lanes(self) -> int:
        shared = self._shared
        elsewhere = len(shared.held) + len(shared.in_doubt) + shared.decoder.waiting
        return LANES_PER_SLOT * shared.concurrency + min(elsewhere, MOST_APART)

    def _start(self, key: bytes | None) -> None:
        task = asyncio.create_task(self._run_lane(key), name=f"commands-{self.number}-lane")
        self._tasks.add(task)
        task.add_done_callback(self._lane_ended)

    async def _run_lane(self, key: bytes | None) -> None:
        """Work on a lane until it is empty, or until another one has waited for a place."""
        lane = self._lanes[key]
        while not self._stop.is_set():
            job = lane[0]
            if isinstance(job, Entry):
                await self._handler.handle(_origin(job), begun=job)
            else:
                await self._handler.handle(job)
                self._bytes -= job.size
            del lane[0]
            self._waiting -= 1
            if not lane:
                del self._lanes[key]
                return
            if self._ready:
                self._ready.append(key)
                return

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, Exception):
                raise error
            self.journal.fail(error)
        self.advance()
        if self._stop.is_set() and not self._tasks:
            self.journal.finish()


def _origin(entry: Entry) -> Received:
    if entry.origin is None:
        raise AssertionError(f"{entry.command_id} is unfinished and has no origin")
    return entry.origin
