"""The demo's own consumer, which shares no code with the bridge.

A plain consumer of committed records; values are decoded with Apache's avro package and the schemas
that the registry has under their ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, NamedTuple, cast

import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from avro.io import BinaryDecoder, DatumReader
from avro.schema import parse

_HEADER = 5
_AT_ONCE = 500


class Decoded(NamedTuple):
    """A record's topic and its value; timestamps are datetimes."""

    topic: str
    value: dict[str, Any]


class DemoReader:
    """Reads topics from their beginning, all partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, registry: httpx.AsyncClient) -> None:
        self._consumer = consumer
        self._registry = registry
        self._schemas: dict[int, DatumReader] = {}

    async def poll(self, seconds: float) -> list[Decoded]:
        """Return what arrived within about so many seconds, in the order of each partition."""
        fetched = await self._consumer.getmany(
            timeout_ms=round(seconds * 1000), max_records=_AT_ONCE
        )
        return [
            await self._decode(record)
            for records in fetched.values()
            for record in records
            if record.value is not None  # a deletion, on compacted topics
        ]

    async def to_end(self) -> list[Decoded]:
        """Read on to the end that committed records have now."""
        partitions: list[TopicPartition] = list(self._consumer.assignment())
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        found = []
        while any([await self._consumer.position(at) < end for at, end in ends.items()]):
            found += await self.poll(0.2)
        return found

    async def _decode(self, record: ConsumerRecord[bytes, bytes]) -> Decoded:
        data = record.value or b""
        number = int.from_bytes(data[1:_HEADER], "big")
        if number not in self._schemas:
            answer = (await self._registry.get(f"/schemas/ids/{number}")).raise_for_status()
            self._schemas[number] = DatumReader(parse(answer.json()["schema"]))
        value = self._schemas[number].read(BinaryDecoder(BytesIO(data[_HEADER:])))
        return Decoded(record.topic, cast("dict[str, Any]", value))


@asynccontextmanager
async def reading(address: str, registry_url: str, *topics: str) -> AsyncIterator[DemoReader]:
    """Open a reader of these topics, in no group."""
    consumer = AIOKafkaConsumer(
        *topics,
        bootstrap_servers=address,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with httpx.AsyncClient(base_url=registry_url, trust_env=False) as registry:
        await consumer.start()
        try:
            yield DemoReader(consumer, registry)
        finally:
            await consumer.stop()
