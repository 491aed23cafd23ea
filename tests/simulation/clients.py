"""Clients of the simulated brokers: what stands in for the bridge's own, and its consumers."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from simulation.brokers import Written
from simulation.producers import PlainProducer, Producer
from simulation.virtual import Machine
from simulation.wire import Backstage, Wire


class KafkaOn:
    """Stands in for KafkaClient on one machine."""

    committed_only = True
    """The consumers' isolation level."""

    def __init__(self, stage: Backstage, machine: Machine) -> None:
        self._wire = Wire(stage, machine)

    def producer(self, transactional_id: str | None) -> Any:
        if transactional_id is None:
            return PlainProducer(self._wire)
        return Producer(self._wire, transactional_id)

    def consumer(self, *, group: str | None, committed: bool = True) -> Any:
        assert group is None
        return Consumer(self._wire, committed_only=committed and self.committed_only)


class Consumer:
    """An AIOKafkaConsumer that reads one assigned partition."""

    def __init__(self, wire: Wire, *, committed_only: bool) -> None:
        self._wire = wire
        self._committed_only = committed_only
        self._position = 0
        self._coordinator = self._fetcher = object()
        self._client = SimpleNamespace(close=self.stop)

    async def start(self) -> None:
        await self._wire.ask(lambda: None)

    async def stop(self) -> None:
        """There is nothing to stop."""

    def assign(self, _ats: Sequence[TopicPartition]) -> None:
        """It reads what it is asked for."""

    def seek(self, _at: TopicPartition, offset: int) -> None:
        self._position = offset

    async def beginning_offsets(self, ats: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(ats, 0)

    async def end_offsets(self, ats: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._wire.ask(lambda: {at: self._end(at) for at in ats})

    async def getmany(
        self, at: TopicPartition, *, timeout_ms: int
    ) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        end = await self._wire.ask(lambda: self._end(at))
        if end <= self._position:
            await self._wire.machine.travel(timeout_ms / 1000)
            return {}
        log = self._wire.brokers.logs[at]
        begin, self._position = self._position, end
        seen = log.committed(begin) if self._committed_only else log.everything(begin)
        return {at: [_received(offset, record) for offset, record in seen if offset < end]}

    async def position(self, _at: TopicPartition) -> int:
        return self._position

    def _end(self, at: TopicPartition) -> int:
        log = self._wire.brokers.logs[at]
        return log.stable if self._committed_only else len(log.entries)


def _received(offset: int, one: Written) -> ConsumerRecord[Any, Any]:
    at = one.at
    return ConsumerRecord(
        at.topic, at.partition, offset, 0, 0, one.key, one.value, None, 0, 0, one.headers
    )
