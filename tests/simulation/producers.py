"""aiokafka's producer, as far as the bridge uses it, on the simulated brokers.

Each transaction has a fate: most succeed; others lose a batch, an answer or their process, or have
their end sent twice, as aiokafka does when an answer does not come, while the first copy is still
on its way (KAFKA-17754).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from aiokafka import TopicPartition, errors
from aiokafka.protocol.transaction import EndTxnRequest

from simulation.brokers import Written
from simulation.chaos import DOUBTFUL, KILLED, Fate
from simulation.virtual import passing
from simulation.wire import Wire

SLOW: Final = (0.5, 2.0, 6.0)
"""Seconds between two batches of one transaction, now and then."""
BATCH_BYTES: Final = 1_000_000


class Batch:
    """Records for one partition."""

    def __init__(self) -> None:
        self.records: list[tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]] = []
        self._bytes = 0

    def append(
        self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any
    ) -> Any:
        size = len(key or b"") + len(value or b"") + 100 * len(headers) + 40
        if self.records and self._bytes + size > BATCH_BYTES:
            return None
        self._bytes += size
        self.records.append((key, value, tuple(headers)))
        return self


class Cluster:
    """What a client knows of brokers that it could not reach."""

    def brokers(self) -> set[object]:
        return set()


class Connection:
    """Carries the request whose repetition matters; the bridge counts them here."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self.cluster = Cluster()

    async def send(self, _node: int, request: EndTxnRequest) -> None:
        await self._producer.carry(request)

    async def close(self) -> None:
        """There is nothing to close."""


class Sender:
    """Delivers the batches of one transaction; a task of its own, as aiokafka's."""

    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self._name = name
        self._waiting: list[tuple[TopicPartition, Batch, asyncio.Future[Any]]] = []
        self._added: set[TopicPartition] = set()
        self._task: asyncio.Task[None] | None = None
        self.epoch = -1
        self.fate = Fate.FINE
        self.commit = 0
        self.stale: Callable[[], None] | None = None
        """An EndTxn on its way that arrives when it harms most: within the next transaction."""

    def begin(self, fate: Fate, commit: int) -> None:
        self.fate, self.commit = fate, commit
        self._added = set()

    def put(self, at: TopicPartition, batch: Batch) -> asyncio.Future[Any]:
        acknowledged = asyncio.get_running_loop().create_future()
        self._waiting.append((at, batch, acknowledged))
        if self._task is None:
            self._task = asyncio.create_task(self.deliver())
        return acknowledged

    async def flush(self) -> None:
        """Wait until every batch is delivered or has failed."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def deliver(self) -> None:
        wire = self._wire
        if self.fate is Fate.KILLED_BEFORE:
            wire.machine.die()
        await passing(0)  # the caller puts in all batches at once
        number = 0
        while self._waiting:
            at, batch, acknowledged = self._waiting.pop(0)
            last = not self._waiting
            if self.fate is Fate.KILLED_BETWEEN and (number or last):
                wire.machine.die()
            if number and wire.rng.random() < wire.brokers.slow:
                await wire.machine.travel(wire.rng.choice(SLOW))
            error = await self._deliver(at, batch, spoiled=last)
            number += 1
            if self.stale is not None and not last:
                self.stale()
                self.stale = None
                if wire.rng.random() < 0.5:
                    wire.machine.die()
            if acknowledged.done():
                continue
            if error is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(error)
        self._task = None

    async def _deliver(self, at: TopicPartition, batch: Batch, *, spoiled: bool) -> Any:
        """Deliver a batch; return why it failed."""
        if spoiled and self.fate is Fate.BATCH_REFUSED:
            return errors.MessageSizeTooLargeError()
        add = at not in self._added
        self._added.add(at)
        records = [Written(at, *each, self.commit) for each in batch.records]

        def produce() -> None:
            self._wire.brokers.produce(self._name, self.epoch, at, records, add=add)

        try:
            await self._wire.ask(produce)
        except errors.KafkaError as error:
            return error
        return (
            errors.KafkaTimeoutError() if spoiled and self.fate is Fate.BATCH_UNANSWERED else None
        )


class Producer:
    """An AIOKafkaProducer with a transactional id."""

    def __init__(self, wire: Wire, name: str) -> None:
        self._wire = wire
        self._name = name
        self._end = EndTxnRequest(name, 0, 0, transaction_result=True)
        self.client = Connection(self)
        # What the bridge looks at when it ends a producer.
        self._sender = Sender(wire, name)
        self._message_accumulator = SimpleNamespace(_batches={})
        self._txn_manager = SimpleNamespace(wait_for_transaction_end=lambda: None)

    @property
    def is_fenced(self) -> bool:
        """Whether it cannot write any more, known or not."""
        return self._wire.brokers.is_fenced(self._name, self._sender.epoch)

    async def start(self) -> None:
        brokers = self._wire.brokers
        self._sender.epoch = await self._wire.ask(lambda: brokers.init_producer_id(self._name))

    async def begin_transaction(self) -> None:
        self._wire.brokers.commits += 1
        fate = self._wire.stage.fate()
        if fate is not Fate.FINE:
            self._wire.tell(f"its transaction will be {fate.value}")
        self._sender.begin(fate, self._wire.brokers.commits)

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        return self._sender.put(TopicPartition(topic, partition), batch)

    async def commit_transaction(self) -> None:
        """Send the end until it is answered, as often as that takes."""
        await self._sender.flush()
        while True:
            try:
                await self.client.send(0, self._end)
            except errors.KafkaConnectionError:
                await passing(0.1)
            else:
                return

    async def carry(self, _request: EndTxnRequest) -> None:
        """Carry an EndTxn to the coordinator and its answer back, or what is left of them."""
        wire, sender = self._wire, self._sender
        name, epoch = self._name, sender.epoch
        fate, sender.fate = sender.fate, Fate.FINE

        def end() -> None:
            wire.brokers.end_txn(name, epoch)

        match fate:
            case Fate.KILLED_BEFORE_END:
                wire.machine.die()
            case Fate.END_REFUSED:
                raise errors.UnknownError("the coordinator failed")
            case Fate.END_LOST:
                await asyncio.get_running_loop().create_future()
            case Fate.END_UNANSWERED:
                seconds = wire.rng.choice((0.0, 0.1, 1.0, 30.0, 60.0))
                asyncio.get_running_loop().call_later(seconds, self._late(end))
                await asyncio.get_running_loop().create_future()
            case Fate.END_REPEATED:
                if wire.rng.random() < 0.3:
                    sender.stale = self._late(end)
                else:
                    seconds = wire.rng.choice((0.0, 0.05, 1.0, 3.0, 9.0))
                    asyncio.get_running_loop().call_later(seconds, self._late(end))
                raise errors.KafkaConnectionError("the connection broke")
        await wire.ask(end)
        if fate is Fate.KILLED_AFTER:
            wire.machine.die()
            await wire.machine.gate()

    def _late(self, end: Callable[[], None]) -> Callable[[], None]:
        """Make what lets a request arrive that nobody waits for any more."""

        def arrive() -> None:
            try:
                end()
            except errors.KafkaError as error:
                self._wire.tell(f"an EndTxn arrived late and was refused: {error!r}")
            else:
                self._wire.tell("an EndTxn arrived late")

        return arrive

    async def partitions_for(self, _topic: str) -> set[int]:
        return {0}

    async def stop(self) -> None:
        """Leaves a transaction that is open as it is."""


class PlainProducer(Producer):
    """An AIOKafkaProducer without transactions: each partition has a way of its own."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire, "")
        self._ways: dict[TopicPartition, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_way: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._wire.ask(lambda: None)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        work = asyncio.create_task(self._write(TopicPartition(topic, partition), batch))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return asyncio.ensure_future(asyncio.shield(work))

    async def _write(self, at: TopicPartition, batch: Batch) -> None:
        wire = self._wire
        wire.brokers.commits += 1
        fate, commit = wire.stage.fate(), wire.brokers.commits
        if fate is not Fate.FINE:
            wire.tell(f"what it writes to {at.topic} will be {fate.value}")
        records = [Written(at, *each, commit) for each in batch.records]
        async with self._ways[at]:
            if fate is Fate.KILLED_BEFORE:
                wire.machine.die()
            if fate is Fate.BATCH_REFUSED:
                raise errors.MessageSizeTooLargeError
            await wire.ask(lambda: wire.brokers.write(at, records))
            if fate in KILLED:
                wire.machine.die()
                await wire.machine.gate()
            if fate in DOUBTFUL:
                raise errors.KafkaTimeoutError
