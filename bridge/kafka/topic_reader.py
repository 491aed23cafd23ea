"""Reading a whole topic from chosen offsets, outside any consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition

from bridge.clock import Micros
from bridge.errors import ConfigError
from bridge.kafka.client import REQUEST_TIMEOUT, KafkaClient, bounded, end_admin, end_consumer
from bridge.kafka.consumer import Received
from bridge.kafka.topics import MEND

Offsets = Mapping[TopicPartition, int]
"""By partition, the offset of the next record."""


class TopicReader:
    """Committed records of all partitions of a topic; each call may raise KafkaAway."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = partitions
        self._what = f"reading {partitions[0].topic}"

    async def starts(self) -> dict[TopicPartition, int]:
        """Return where each partition's log begins."""
        async with bounded(self._what, REQUEST_TIMEOUT):
            found: dict[TopicPartition, int] = await self._consumer.beginning_offsets(
                self._partitions
            )
        return found

    async def ends(self) -> dict[TopicPartition, int]:
        """Return where each partition ends for readers of committed records."""
        async with bounded(self._what, REQUEST_TIMEOUT):
            found: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return found

    async def since(self, at: Micros) -> dict[TopicPartition, int]:
        """Return the first offset written then or later, of the partitions that have one."""
        wanted = dict.fromkeys(self._partitions, at // 1000)
        async with bounded(self._what, REQUEST_TIMEOUT):
            found = await self._consumer.offsets_for_times(wanted)
        return {where: one.offset for where, one in found.items() if one is not None}

    def seek(self, offsets: Offsets) -> None:
        """Read on from these offsets."""
        for at, offset in offsets.items():
            self._consumer.seek(at, offset)

    async def poll(self, seconds: float) -> list[Received]:
        """Return what arrived within about so many seconds."""
        async with bounded(self._what, seconds + REQUEST_TIMEOUT):
            fetched = await self._consumer.getmany(timeout_ms=round(seconds * 1000))
        return [record for records in fetched.values() for record in records]

    async def positions(self) -> dict[TopicPartition, int]:
        """Return how far reading came; control records and aborted ones are passed over."""
        async with bounded(self._what, REQUEST_TIMEOUT):
            return {at: await self._consumer.position(at) for at in self._partitions}


@asynccontextmanager
async def open_topic(kafka: KafkaClient, *names: str) -> AsyncIterator[TopicReader]:
    """Open the first of `names` that exists, with no offset chosen yet.

    Topics are looked for in a listing, because to ask for one may create it. Raises ConfigError if
    there is none, KafkaAway.
    """
    partitions = await find_topic(kafka, *names)
    consumer = kafka.consumer(group=None)
    try:
        async with bounded(f"reading {partitions[0].topic}", REQUEST_TIMEOUT):
            await consumer.start()
        consumer.assign(partitions)
        yield TopicReader(consumer, partitions)
    finally:
        await end_consumer(consumer)


async def find_topic(kafka: KafkaClient, *names: str) -> list[TopicPartition]:
    """Return the partitions of the first of `names` that exists; ConfigError if there is none."""
    admin = kafka.admin()
    try:
        async with bounded("listing topics", REQUEST_TIMEOUT):
            await admin.start()
            topics = await admin.describe_topics()
    finally:
        await end_admin(admin)
    counts = {topic["topic"]: len(topic["partitions"]) for topic in topics}
    for name in names:
        if counts.get(name):
            return [TopicPartition(name, number) for number in range(counts[name])]
    missing = " nor ".join(names)
    raise ConfigError([f"there is no topic {missing}: {MEND} creates the bridge's"])
