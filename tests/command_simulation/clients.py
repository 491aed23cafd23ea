"""aiokafka's producer and consumers, as far as the command side uses them beyond the source."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition, errors
from aiokafka.structs import OffsetAndTimestamp
from simulation import clients, producers
from simulation.brokers import Written
from simulation.virtual import Machine
from simulation.wire import Wire

from bridge.kafka.client import KafkaClient
from command_simulation.cluster import OFFSETS, Cluster
from command_simulation.group import SESSION, Group
from command_simulation.stage import Stage

SHORTEST, LONGEST, FOLLOWING = 0.2, 4.0, 8.0
"""Seconds that a member waits for records, and one that follows a log, while nothing happens."""

Fetched = dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]


class KafkaOn(KafkaClient):
    """Stands in for KafkaClient on one machine."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self._stage = stage
        self._machine = machine
        self._wire = Wire(stage, machine)

    @property
    def session_timeout(self) -> float:
        return SESSION

    def producer(self, transactional_id: str | None) -> Any:
        assert transactional_id is not None
        return Producer(self._wire, self._stage, transactional_id)

    def consumer(self, *, group: str | None, committed: bool = True) -> Any:
        if group is None:
            return Reader(self._wire, self._stage.cluster, committed_only=committed)
        return Member(self._wire, self._stage.cluster, self._stage.group)


class Producer(producers.Producer):
    """A producer that also commits offsets of groups."""

    def __init__(self, wire: Wire, stage: Stage, name: str) -> None:
        super().__init__(wire, name)
        self._stage = stage
        self._cluster = stage.cluster

    async def begin_transaction(self) -> None:
        await super().begin_transaction()
        self._cluster.authors[self._cluster.commits] = self._stage.tenure(
            self._wire.machine, int(self._name.rpartition(".")[2])
        )

    async def commit_transaction(self) -> None:
        await super().commit_transaction()
        stage, machine = self._stage, self._wire.machine
        share = stage.scenario.frozen_commits
        if share and stage.chance.random() < share:
            stage.freeze(machine)
            await machine.gate()

    async def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, int], _group: str
    ) -> None:
        await self._sender.flush()
        records = [
            Written(OFFSETS, f"{at.topic}/{at.partition}".encode(), str(offset).encode(), (), 0)
            for at, offset in offsets.items()
        ]
        name, epoch, cluster = self._name, self._sender.epoch, self._cluster
        await self._wire.ask(lambda: cluster.produce(name, epoch, OFFSETS, records, add=True))

    async def partitions_for(self, topic: str) -> set[int]:
        return await self._wire.ask(lambda: set(range(self._cluster.counts[topic])))


class Nap:
    """Waiting for records: longer and longer while nothing happens, and shorter when told."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._next = SHORTEST
        self._wake: asyncio.Future[None] | None = None

    def end(self) -> None:
        """Wake up: something happened."""
        self._next = SHORTEST
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def take(self, most: float) -> None:
        """Wait, not longer than `most` seconds."""
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        timer = loop.call_later(min(most, self._next), _settle, wake)
        self._next = min(self._longest, 2 * self._next)
        try:
            await wake
        finally:
            timer.cancel()


class Reader(clients.Consumer):
    """A consumer of one assigned partition that knows where its log begins."""

    def __init__(self, wire: Wire, cluster: Cluster, *, committed_only: bool) -> None:
        super().__init__(wire, committed_only=committed_only)
        self._cluster = cluster
        self._nap = Nap(1.0 if committed_only else FOLLOWING)
        self._polled = 0
        cluster.appended.append(self._nap.end)

    async def stop(self) -> None:
        if self._nap.end in self._cluster.appended:
            self._cluster.appended.remove(self._nap.end)

    async def beginning_offsets(self, ats: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._wire.ask(lambda: {at: self._cluster.begins[at] for at in ats})

    async def offsets_for_times(
        self, times: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return dict.fromkeys(times)

    async def getmany(self, at: TopicPartition, *, timeout_ms: int) -> Fetched:
        """Return what there is; without anything later than asked, which costs less."""
        begin = self._position
        found = await super().getmany(at, timeout_ms=0)
        if begin == self._position:
            await self._nap.take(max(timeout_ms / 1000, FOLLOWING))
            await self._wire.machine.gate()
        return found

    def last_poll_timestamp(self, _at: TopicPartition) -> int:
        """When brokers answered last: they did, or the last request had failed."""
        self._polled += not self._cluster.away
        return self._polled


class Member:
    """A consumer that is a member of the group."""

    def __init__(self, wire: Wire, cluster: Cluster, group: Group) -> None:
        self.machine = wire.machine
        self.partitions: frozenset[TopicPartition] = frozenset()
        self._wire = wire
        self._cluster = cluster
        self._group = group
        self._listener: Any = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._paused: set[TopicPartition] = set()
        self._polled: dict[TopicPartition, int] = {}
        self.is_closed = False
        self._is_rebalancing = True
        self._nap = Nap(LONGEST)
        # What the bridge looks at when it ends a consumer, or asks for its coordinator.
        self._coordinator = self
        self._fetcher = object()
        self._client = SimpleNamespace(close=self._close)

    @property
    def coordinator_id(self) -> int | None:
        """The broker that coordinates the group, if it can be reached."""
        return None if self._cluster.away else 1

    @property
    def name(self) -> str:
        """The machine's name, for accounts."""
        return self.machine.name

    async def start(self) -> None:
        await self._wire.ask(lambda: None)

    def subscribe(self, _topics: Sequence[str], *, listener: Any) -> None:
        self._listener = listener
        self._cluster.appended.append(self.wake)
        self._group.join(self)

    async def stop(self) -> None:
        await self.machine.gate()
        if self.wake in self._cluster.appended:
            self._cluster.appended.remove(self.wake)
        self._group.leave(self)

    async def _close(self) -> None:
        """End the heartbeats, whether or not the group was told."""
        self.is_closed = True
        asyncio.get_running_loop().call_later(SESSION, self._group.leave, self)

    # What the group tells

    def revoked(self) -> None:
        """Hear that a rebalance has begun."""
        self._is_rebalancing = True
        self._listener.on_partitions_revoked(self.partitions)
        self.wake()

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Hear what the group gives; positions are the group's, if it has any."""
        self.partitions = partitions
        self._positions = {at: self._cluster.offset_of(at) for at in partitions}
        self._paused = set()
        self._is_rebalancing = False
        self._listener.on_partitions_assigned(partitions)
        self.wake()

    def wake(self) -> None:
        """Stop waiting for records: something happened."""
        self._nap.end()

    # What the bridge asks

    def assignment(self) -> frozenset[TopicPartition]:
        return self.partitions

    def seek(self, at: TopicPartition, offset: int) -> None:
        self._check(at)
        self._positions[at] = offset
        self._nap.end()

    def pause(self, *ats: TopicPartition) -> None:
        for at in ats:
            self._check(at)
        self._paused.update(ats)

    def resume(self, *ats: TopicPartition) -> None:
        for at in ats:
            self._check(at)
        self._paused.difference_update(ats)
        self._nap.end()

    def last_poll_timestamp(self, at: TopicPartition) -> int | None:
        return self._polled.get(at)

    async def getmany(self, *, timeout_ms: int) -> Fetched:
        await self.machine.gate()
        found = self._fetch()
        if not found:
            await self._nap.take(timeout_ms / 1000)
            await self.machine.gate()
            found = self._fetch()
        return found

    async def position(self, at: TopicPartition) -> int:
        return self._positions[at] or 0

    def highwater(self, at: TopicPartition) -> int:
        return len(self._cluster.logs[at].entries)

    def last_stable_offset(self, at: TopicPartition) -> int:
        return self._cluster.logs[at].stable

    def _fetch(self) -> Fetched:
        if self._is_rebalancing or self._cluster.away:
            return {}
        found: Fetched = {}
        outside: dict[TopicPartition, int] = {}
        for at in sorted(self.partitions):
            position = self._positions[at]
            if position is None:
                raise errors.NoOffsetForPartitionError(at)
            if at in self._paused:
                continue
            log = self._cluster.logs[at]
            if not self._cluster.begins[at] <= position <= len(log.entries):
                outside[at] = position
                continue
            self._polled[at] = round(asyncio.get_running_loop().time() * 1000)
            records = [clients._received(*each) for each in log.committed(position)]
            self._positions[at] = log.stable
            if records:
                found[at] = records
        if outside and not found:  # what is there is handed out first
            raise errors.OffsetOutOfRangeError(outside)
        return found

    def _check(self, at: TopicPartition) -> None:
        if at not in self.partitions:
            raise errors.IllegalStateError(f"{at} is not assigned")


def _settle(nap: asyncio.Future[None]) -> None:
    if not nap.done():
        nap.set_result(None)
