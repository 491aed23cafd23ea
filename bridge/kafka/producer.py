"""The transactional writer: all of a transaction's records and offsets, or none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.protocol.transaction import EndTxnRequest

from bridge import telemetry
from bridge.clock import Clock, utc
from bridge.errors import (
    ClockOff,
    ConfigError,
    Fenced,
    InvalidRecord,
    KafkaAway,
    TransactionLost,
)
from bridge.kafka.client import BATCH_BYTES, KafkaClient, bounded, end_producer

RECORD_BYTES = BATCH_BYTES - 200
"""Largest `Record.size`: such a record still fits into a batch of its own."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record to write; its timestamp will be the time of writing."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes in a batch, at most: the fields, and their lengths as the longest varints."""
        fields = len(self.key or b"") + len(self.value or b"")
        for name, value in self.headers:
            fields += len(name.encode()) + len(value) + 10
        return fields + 40


class _EndCounter:
    """Counts the EndTxn requests that a producer makes: nothing else shows that one was repeated.

    When the answer to an EndTxn is lost, aiokafka sends another and reports success, while the
    first copy may still be on its way and end the next transaction instead (KAFKA-17754).
    """

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.count = 0
        self._send: Callable[..., Awaitable[object]] = producer.client.send
        producer.client.send = self._counted  # type: ignore[method-assign]

    async def _counted(self, node_id: object, request: object, **where: object) -> object:
        self.count += isinstance(request, EndTxnRequest)
        return await self._send(node_id, request, **where)


class Writer:
    """One producer and its transactions, one at a time.

    After any error but InvalidRecord the writer is used up: close it, open another, read back what
    was written. Its producer is never used again, because aiokafka commits transactions that lost
    records, and because an EndTxn that was repeated may still arrive (KAFKA-17754).
    """

    def __init__(
        self,
        kafka: KafkaClient,
        producer: AIOKafkaProducer,
        *,
        transactional_id: str | None,
        role: str,
        clock: Clock,
        timeout: float,
    ) -> None:
        self._kafka = kafka
        self._producer = producer
        self._ends = _EndCounter(producer)
        self._transactional_id = transactional_id
        self._name = transactional_id or f"{role} (no transactions)"
        self._role = role
        self._clock = clock
        self._timeout = timeout
        self._usable = True
        self._ending = False

    @classmethod
    async def open(
        cls,
        kafka: KafkaClient,
        transactional_id: str | None,
        *,
        role: str,
        clock: Clock,
        timeout: float,
    ) -> Self:
        """Open a writer, fencing any other with this id; each step may take `timeout` seconds.

        Returns when the predecessor's open transaction is committed or aborted and so can be read
        back. Without an id records are acknowledged by all replicas, without transactions.

        Raises KafkaAway, ConfigError (brokers that do not fit).
        """
        producer = kafka.producer(transactional_id)
        writer = cls(
            kafka,
            producer,
            transactional_id=transactional_id,
            role=role,
            clock=clock,
            timeout=timeout,
        )
        try:
            async with bounded(f"opening producer {writer._name}", timeout):
                await producer.start()
        except BaseException as error:
            brokers = len(producer.client.cluster.brokers())
            await end_producer(producer, discard=True)
            if isinstance(error, KafkaAway) and brokers and transactional_id is not None:
                raise KafkaAway(f"{error}; {_no_coordinator(brokers)}") from error
            raise
        return writer

    async def commit(
        self,
        records: Sequence[Record],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Write `records` and the `offsets` of `group` in one transaction, or nothing.

        Returns when all of it is committed; readers see it a little later. Without a transactional
        id a failure may leave some of the records written: those of one partition after those of
        another, in the order in which `records` names them, so what vouches for the rest belongs at
        the end. Offsets are left alone then: Kafka takes them from members of the group only.

        Raises:
            InvalidRecord: reason `too_large`; nothing was sent and the writer is as before.
            Fenced: another writer with this transactional id took over; it can read what is there.
            ConfigError: the brokers refuse the time that the clock shows, and always did.
            ClockOff: they do so now, and took what this process wrote before.
            KafkaAway: the brokers did not answer before the end was asked for; nothing was written.
            TransactionLost: the transaction failed, or nobody can know whether it was committed.
        """
        if not self._usable:
            raise TransactionLost(f"{self._name}: this writer is used up or busy; open another")
        packed = self._pack(records)
        if not records and not offsets:
            return
        self._usable = self._ending = False
        began = self._clock.monotonic()
        try:
            await self._write(packed, group, offsets)
        except Fenced:
            telemetry.fenced(self._role, self._name)
            raise
        except ClockOff as error:
            message = f"{error}. It shows {utc(self._clock.now())}"
            telemetry.transaction_lost(self._role, message)
            if self._kafka.wrote:
                raise ClockOff(message) from error
            raise ConfigError([message]) from error
        except KafkaAway as error:
            telemetry.transaction_lost(self._role, str(error))
            if self._ending:
                raise TransactionLost(f"{error}; it may have been committed") from error
            raise
        except TransactionLost as error:
            telemetry.transaction_lost(self._role, str(error))
            raise
        self._usable = self._kafka.wrote = True
        seconds = self._clock.monotonic() - began
        telemetry.transaction_committed(self._role, len(records), seconds)

    async def partitions(self, topic: str) -> int:
        """Return how many partitions `topic` has.

        Raises KafkaAway when no broker answers or there is no such topic.
        """
        async with bounded(f"asking for the partitions of {topic}", self._timeout):
            return len(await self._producer.partitions_for(topic))

    async def close(self) -> None:
        """Give the producer up within seconds; what was not committed never will be."""
        discard = not self._usable
        self._usable = False
        await end_producer(self._producer, discard=discard)

    async def _write(
        self,
        packed: Mapping[TopicPartition, list[Any]],
        group: str | None,
        offsets: Mapping[TopicPartition, int] | None,
    ) -> None:
        async with bounded(f"transaction of {self._name}", self._timeout, TransactionLost):
            if self._transactional_id is None:
                for at, batches in packed.items():
                    await self._send([(at, batch) for batch in batches])
            else:
                await self._transact(list(_in_turn(packed)), group, offsets)

    async def _transact(
        self,
        batches: Sequence[tuple[TopicPartition, Any]],
        group: str | None,
        offsets: Mapping[TopicPartition, int] | None,
    ) -> None:
        producer = self._producer
        await producer.begin_transaction()
        await self._send(batches)
        if offsets:
            await producer.send_offsets_to_transaction(dict(offsets), group)
        before = self._ends.count
        self._ending = True
        await producer.commit_transaction()
        sent = self._ends.count - before
        if sent > 1:
            raise TransactionLost(
                f"transaction of {self._name}: its end was sent {sent} times; "
                "a copy may still be on its way and would end the next transaction"
            )

    async def _send(self, batches: Sequence[tuple[TopicPartition, Any]]) -> None:
        """Send every batch and wait for every acknowledgement."""
        acknowledged: list[asyncio.Future[Any]] = []
        try:
            for at, batch in batches:
                acknowledged.append(
                    await self._producer.send_batch(batch, at.topic, partition=at.partition)
                )
            await asyncio.gather(*acknowledged)
        finally:
            for future in acknowledged:
                future.cancel()

    def _pack(self, records: Sequence[Record]) -> dict[TopicPartition, list[Any]]:
        """Fill batches by partition, in order."""
        millis = self._clock.now() // 1000
        packed: dict[tuple[str, int], list[Any]] = {}
        for record in records:
            at = (record.topic, record.partition)
            batches = packed.get(at)
            if batches is None:
                batches = packed[at] = []
            if batches and self._append(batches[-1], record, millis):
                continue
            # What was taken beside others is not too large; an empty batch takes anything.
            if record.size > RECORD_BYTES:
                raise InvalidRecord(
                    "too_large",
                    f"a record for {record.topic} has {record.size} bytes, "
                    f"more than {RECORD_BYTES}",
                )
            batches.append(self._producer.create_batch())
            self._append(batches[-1], record, millis)
        return {TopicPartition(*at): batches for at, batches in packed.items()}

    @staticmethod
    def _append(batch: Any, record: Record, millis: int) -> bool:
        """Put a record into a batch; False if it is full."""
        return (
            batch.append(
                timestamp=millis,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
            )
            is not None
        )


def _no_coordinator(brokers: int) -> str:
    return (
        f"{brokers} broker(s) can be reached, so it may be their transaction log that is not there:"
        " transaction.state.log.replication.factor and transaction.state.log.min.isr must not be"
        " more than there are brokers"
    )


def _in_turn(packed: Mapping[TopicPartition, list[Any]]) -> Iterator[tuple[TopicPartition, Any]]:
    """Yield the first batch of each partition, then the second: one at a time is sent to each."""
    for row in zip_longest(*packed.values()):
        yield from ((at, batch) for at, batch in zip(packed, row, strict=True) if batch is not None)
