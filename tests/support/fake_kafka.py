"""Kafka in memory, as far as the bridge sees it: logs, transactions, fencing, one group.

Plugged in at the names `Writer`, `Membership`, `read_partition` and `end_consumer`. Each `Process`
is one bridge's view: it can be killed, after which nothing of it reaches the logs any more.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndTimestamp

from bridge.clock import Clock, Micros
from bridge.errors import Fenced, KafkaAway
from bridge.kafka.producer import Record
from bridge.kafka.tail import Tail

Hook = Callable[[str, Sequence[Record]], Awaitable[None]]
Seen = ConsumerRecord[bytes, bytes]


class FakeKafka:
    """The brokers. `transactions` has what each commit wrote, `hook` is awaited around each.

    The hook gets "before" or "after" (the records are in the logs by then) and the records; what it
    raises comes out of the commit.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.counts = dict(counts)
        self.logs: dict[TopicPartition, list[Seen]] = defaultdict(list)
        self.ends: dict[TopicPartition, int] = defaultdict(int)
        self.begins: dict[TopicPartition, int] = defaultdict(int)
        self.epochs: dict[str, int] = defaultdict(int)
        self.offsets: dict[TopicPartition, int] = {}
        self.found_by_time: dict[TopicPartition, OffsetAndTimestamp] = {}
        self.transactions: list[tuple[Record, ...]] = []
        self.hook: Hook | None = None
        self.away = False
        self.now: Callable[[], Micros] = lambda: 0
        """When a record is written."""

    def append(self, record: Record) -> int:
        """Put a record at the end of its log; return its offset."""
        at = TopicPartition(record.topic, record.partition)
        offset = self.ends[at]
        self.ends[at] += 1
        headers = record.headers
        self.logs[at].append(
            ConsumerRecord(
                record.topic,
                record.partition,
                offset,
                self.now() // 1000,
                0,
                record.key,
                record.value,
                None,
                len(record.key or b""),
                len(record.value or b""),
                headers,
            )
        )
        return offset

    def expire(self, at: TopicPartition, begin: int) -> None:
        """Remove what lies below `begin`, as retention does."""
        self.begins[at] = begin
        self.logs[at] = [record for record in self.logs[at] if record.offset >= begin]

    def records(self, topic: str) -> list[Seen]:
        """Return all records of a topic, partition by partition."""
        ats = sorted(at for at in self.logs if at.topic == topic)
        return [record for at in ats for record in self.logs[at]]


class Process:
    """One bridge's Kafka: stands in for KafkaClient. `assigned` is what the group gives it."""

    def __init__(self, kafka: FakeKafka, clock: Clock, assigned: Iterable[TopicPartition]) -> None:
        self.kafka = kafka
        self.clock = clock
        self.assigned = set(assigned)
        self.dead = False

    def consumer(self, *, group: str | None) -> Any:
        return _Offsets(self.kafka)


class _Offsets:
    """The part of a consumer that knows where logs begin and end."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka

    async def start(self) -> None:
        if self._kafka.away:
            raise KafkaAway("no broker answers")

    async def beginning_offsets(self, ats: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: self._kafka.begins[at] for at in ats}

    async def end_offsets(self, ats: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: self._kafka.ends[at] for at in ats}

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return {at: self._kafka.found_by_time.get(at) for at in times}


class FakeWriter:
    """Transactions with a producer epoch; without an id neither fencing nor offsets."""

    def __init__(self, process: Process, transactional_id: str | None) -> None:
        self._process = process
        self._kafka = process.kafka
        self._id = transactional_id
        if transactional_id is not None:
            self._kafka.epochs[transactional_id] += 1
            self._epoch = self._kafka.epochs[transactional_id]
        self._usable = True

    @classmethod
    async def open(cls, process: Process, transactional_id: str | None, **_: object) -> FakeWriter:
        if process.kafka.away or process.dead:
            raise KafkaAway("no broker answers")
        return cls(process, transactional_id)

    async def partitions(self, topic: str) -> int:
        return self._kafka.counts[topic]

    async def commit(
        self,
        records: Sequence[Record],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        assert self._usable, "a writer that failed was used again"
        self._usable = False
        await self._process.clock.sleep(COMMIT)
        if self._kafka.away:
            raise KafkaAway("no broker answers")
        if self._kafka.hook is not None:
            await self._kafka.hook("before", records)
        if self._process.dead:
            await asyncio.Event().wait()
        if self._id is not None and self._kafka.epochs[self._id] != self._epoch:
            raise Fenced(f"{self._id} has a newer producer")
        for record in records:
            self._kafka.append(record)
        for at in {TopicPartition(record.topic, record.partition) for record in records}:
            self._kafka.ends[at] += self._id is not None  # the transaction's marker
        if self._id is not None:
            self._kafka.offsets.update(offsets or {})
        self._kafka.transactions.append(tuple(records))
        if self._kafka.hook is not None:
            await self._kafka.hook("after", records)
        self._usable = True

    async def close(self) -> None:
        self._usable = False


COMMIT = 0.015
"""Seconds that a transaction takes."""

JOINING = 3.0
"""Seconds that a group takes to let a member in."""


class FakeMembership:
    """A member that reads resumed partitions from where it was told to."""

    held_back: str | None = None

    def __init__(self, process: Process, **_: object) -> None:
        self._process = process
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._joined_at = float("inf")
        self.changed = asyncio.Event()

    async def start(self) -> None:
        if self._process.kafka.away:
            raise KafkaAway("no broker answers")
        self._joined_at = self._process.clock.monotonic() + JOINING

    @property
    def joined(self) -> bool:
        return True

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        joined = self._process.clock.monotonic() >= self._joined_at
        return frozenset(self._process.assigned if joined else ())

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._next[at] = offset

    def pause(self, ats: Iterable[TopicPartition]) -> None:
        self._paused.update(ats)

    def resume(self, ats: Iterable[TopicPartition]) -> None:
        self._paused.difference_update(ats)

    async def poll(self, timeout: float) -> list[Seen]:
        await self._process.clock.sleep(timeout)
        if self._process.kafka.away:
            raise KafkaAway("no broker answers")
        found = []
        for at in self._process.assigned - self._paused:
            if at in self._next and not self._process.dead:
                log = self._process.kafka.logs[at]
                found += [record for record in log if record.offset >= self._next[at]]
                self._next[at] = max(self._next[at], self._process.kafka.ends[at])
        return found

    async def close(self) -> None:
        self._joined_at = float("inf")


async def _read_partition(
    process: Process,
    topic: str,
    partition: int,
    *,
    until: Callable[[Seen], bool] | None,
    timeout: float,
) -> AsyncIterator[Seen]:
    for record in list(process.kafka.logs[TopicPartition(topic, partition)]):
        yield record
        if until is not None and until(record):
            return
    if until is not None:
        raise KafkaAway("the log ends before the claim")


async def _follow(
    process: Process, topic: str, partition: int, *, clock: Clock
) -> AsyncGenerator[Tail, None]:
    """Everything is committed here, so that nothing has to be waited for."""
    at, offset = TopicPartition(topic, partition), 0
    while True:
        if process.kafka.away or process.dead:
            raise KafkaAway("no broker answers")
        fresh = [record for record in process.kafka.logs[at] if record.offset >= offset]
        offset = process.kafka.ends[at]
        yield Tail(fresh, whole=True)
        await clock.sleep(1.0)


async def _usable(process: Process, prefix: str) -> dict[str, int]:
    if process.kafka.away:
        raise KafkaAway("no broker answers")
    return {name: n for name, n in process.kafka.counts.items() if name.startswith(prefix)}


async def _log_bounds(process: Process, at: TopicPartition, **_: object) -> tuple[int, int]:
    return process.kafka.begins[at], process.kafka.ends[at]


async def _end_consumer(consumer: object) -> None:
    """There is nothing to end."""


def plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bridge use this module in place of aiokafka."""
    monkeypatch.setattr("bridge.kafka.lease.Membership", FakeMembership)
    monkeypatch.setattr("bridge.source.owner.Writer", FakeWriter)
    monkeypatch.setattr("bridge.source.takeover.read_partition", _read_partition)
    monkeypatch.setattr("bridge.source.audits.published.read_partition", _read_partition)
    monkeypatch.setattr("bridge.source.tools.access.read_partition", _read_partition)
    monkeypatch.setattr("bridge.source.tools.access.Writer", FakeWriter)
    monkeypatch.setattr("bridge.source.audits.published.log_bounds", _log_bounds)
    monkeypatch.setattr("bridge.source.tools.repair.log_bounds", _log_bounds)
    monkeypatch.setattr("bridge.commands.ledger.journal.Writer", FakeWriter)
    monkeypatch.setattr("bridge.commands.ledger.copies.Writer", FakeWriter)
    monkeypatch.setattr("bridge.commands.ledger.mending.Writer", FakeWriter)
    monkeypatch.setattr("bridge.commands.ledger.mending.read_partition", _read_partition)
    monkeypatch.setattr("bridge.commands.engine.Membership", FakeMembership)
    monkeypatch.setattr("bridge.commands.engine.log_bounds", _log_bounds)
    monkeypatch.setattr("bridge.commands.ledger.reader.read_partition", _read_partition)
    monkeypatch.setattr("bridge.commands.ledger.reader.end_consumer", _end_consumer)
    monkeypatch.setattr("bridge.commands.brakes.brake.follow", _follow)
    monkeypatch.setattr("bridge.commands.ledger.replies.usable", _usable)
