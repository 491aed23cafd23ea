"""Every record that a source writes, at its extremes, as clients of others read it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import avro.io
import avro.schema
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from source_bench import LAYOUT, Bench

from bridge.avro.schema import load_schemas

SCHEMAS = {
    LAYOUT.events: load_schemas()["mission_event"].text,
    LAYOUT.checkpoint: load_schemas()["checkpoint"].text,
    LAYOUT.audit: load_schemas()["audit_record"].text,
}
EXTREMES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:60Z",
    "9999-12-31T23:59:59.999999-14:00",
    "1969-12-31T23:59:59Z",
]
BEYOND = {EXTREMES[1], EXTREMES[3], EXTREMES[4]}
"""A zone, or a leap second, leads out of the years that clients can show."""

Read = Callable[[str, bytes], Any]


def confluent() -> Read:
    """Read as confluent-kafka does, which makes datetimes of timestamps."""
    registry = SchemaRegistryClient.new_client({"url": "mock://"})
    deserialize = AvroDeserializer(registry)

    def read(topic: str, value: bytes) -> Any:
        schema_id = registry.register_schema(f"{topic}-value", Schema(SCHEMAS[topic], "AVRO"))
        framed = b"\0" + schema_id.to_bytes(4, "big") + value[5:]
        return deserialize(framed, SerializationContext(topic, MessageField.VALUE))

    return read


def apache(topic: str, value: bytes) -> Any:
    """Read as Apache's own package does."""
    reader = avro.io.DatumReader(avro.schema.parse(SCHEMAS[topic]))
    return reader.read(avro.io.BinaryDecoder(io.BytesIO(value[5:])))


@pytest.fixture(params=["confluent", "apache"])
def read(request: pytest.FixtureRequest) -> Read:
    """Return a reader of others."""
    return confluent() if request.param == "confluent" else apache


def all_read(bench: Bench, read: Read) -> dict[str, list[Any]]:
    """Return what a reader of others makes of all records, by topic."""
    found: dict[str, list[Any]] = {topic: [] for topic in SCHEMAS}
    for records in bench.topics.kafka.transactions:
        for record in records:
            if record.topic in SCHEMAS and record.value is not None:
                found[record.topic].append(read(record.topic, record.value))
    return found


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_feed_that_was_cut_before_the_first_start_is_told_to_everybody(
    order: str, read: Read
) -> None:
    bench = Bench(events=700, behaviour={"newest_only": 600, "order": order})
    await bench.catch_up()
    await bench.later(1000)
    found = all_read(bench, read)
    gaps = [record["gap"] for record in found[LAYOUT.audit] if record["gap"]]
    assert gaps
    assert {gap["since"] for gap in gaps} == {None}
    assert len(found[LAYOUT.events]) == 700


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("alone", [True, False])
async def test_records_of_the_first_and_the_last_years_can_be_read(
    extreme: str, read: Read, *, alone: bool
) -> None:
    bench = Bench(events=0 if alone else 600, lateness_max=86_400)
    bench.api.insert(3, fields={"timestamp": extreme})
    await bench.catch_up()
    bench.api.insert(3, fields={"timestamp": extreme, "summary": "", "payload": {}})
    for seconds in (100, 1000, 90_000, 100):
        await bench.later(seconds)
    found = all_read(bench, read)
    letters = len(bench.topics.letters())
    assert len(found[LAYOUT.events]) + letters == len(bench.api.events())
    assert letters == (6 if extreme in BEYOND else 0)
