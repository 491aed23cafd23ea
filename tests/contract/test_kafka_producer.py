"""What a Writer promises, on every Kafka there is, seen through an independent client."""

import asyncio
import random
from collections.abc import Callable

import pytest
from aiokafka import TopicPartition
from confluent_kafka import Producer
from support.brokers import Broker
from support.kafka import Seen, create_topics, list_topics, offset_of, read_topic, wait_until

from bridge.clock import Clock
from bridge.errors import Fenced, InvalidRecord, KafkaAway, TransactionLost
from bridge.kafka.client import KafkaClient, end_producer
from bridge.kafka.partition import crc32, murmur2
from bridge.kafka.producer import RECORD_BYTES, Record, Writer

CLOCK = Clock()


async def opened(kafka: KafkaClient, transactional_id: str | None) -> Writer:
    return await Writer.open(kafka, transactional_id, role="source", clock=CLOCK, timeout=20)


async def seen(kafka: Broker, topic: str, count: int) -> list[Seen]:
    """Wait until that many records can be read: a commit shows a little after it returns."""
    records: list[Seen] = []
    end = CLOCK.monotonic() + 10
    while len(records) < count and CLOCK.monotonic() < end:
        records = await asyncio.to_thread(read_topic, kafka.address, topic)
    assert len(records) == count
    return records


@pytest.fixture
def topic(kafka: Broker, topic_prefix: str) -> str:
    name = f"{topic_prefix}.topic"
    create_topics(kafka.address, {name: 3})
    return name


async def test_a_committed_transaction_shows_every_field_of_every_record(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    before = CLOCK.now() // 1000
    headers = (("ce_id", b"run/1"), ("empty", b""), ("ce_id", b"twice"))
    writer = await opened(kafka_client, topic)
    await writer.commit(
        [
            Record(topic, 0, b"key", b"value", headers),
            Record(topic, 2, None, b"no key"),
            Record(topic, 2, b"tombstone", None),
            Record(topic, 2, None, None),
        ]
    )
    await writer.close()
    records = await seen(kafka, topic, 4)
    assert [(r.partition, r.key, r.value, r.headers) for r in records] == [
        (0, b"key", b"value", headers),
        (2, None, b"no key", ()),
        (2, b"tombstone", None, ()),
        (2, None, None, ()),
    ]
    assert all(before <= r.timestamp <= CLOCK.now() // 1000 for r in records)


async def test_a_transaction_larger_than_a_batch_keeps_the_order_of_each_partition(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    noise = random.Random(1).randbytes(5_000)
    records = [
        Record(topic, i % 3, b"%06d" % i, noise if i % 10 == 0 else b"v") for i in range(9_000)
    ]
    writer = await opened(kafka_client, topic)
    await writer.commit(records)
    await writer.close()
    got = await seen(kafka, topic, len(records))
    for partition in range(3):
        assert [r.key for r in got if r.partition == partition] == [
            r.key for r in records if r.partition == partition
        ]


async def test_the_largest_record_is_written_and_a_larger_one_refused_before_anything_is_sent(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    fits = Record(topic, 0, b"k", random.Random(2).randbytes(RECORD_BYTES - 41))
    too_large = Record(topic, 0, b"k", bytes(RECORD_BYTES - 40))
    assert fits.size == RECORD_BYTES
    writer = await opened(kafka_client, topic)
    with pytest.raises(InvalidRecord) as refusal:
        await writer.commit([Record(topic, 1, b"k", b"with it"), too_large])
    assert refusal.value.reason == "too_large"
    await writer.commit([fits])
    await writer.close()
    assert [r.value for r in await seen(kafka, topic, 1)] == [fits.value]


async def test_nothing_to_write_is_no_transaction(kafka_client: KafkaClient, topic: str) -> None:
    writer = await opened(kafka_client, topic)
    await writer.commit([])
    await writer.commit([], group="g", offsets={})
    await writer.close()


async def test_records_of_a_transaction_that_was_never_committed_stay_invisible(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    crashed = kafka_client.producer(topic)
    await crashed.start()
    await crashed.begin_transaction()
    await crashed.send_and_wait(topic, b"lost", partition=0)
    writer = await opened(kafka_client, topic)  # as the restarted process does; the crashed one is
    await writer.commit([Record(topic, 0, b"k", b"kept")])  # still connected
    await writer.close()
    await end_producer(crashed, discard=True)
    assert [r.value for r in await seen(kafka, topic, 1)] == [b"kept"]


async def test_a_second_writer_with_the_same_id_fences_the_first(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    first = await opened(kafka_client, topic)
    await first.commit([Record(topic, 0, b"k", b"first")])
    second = await opened(kafka_client, topic)
    with pytest.raises(Fenced):
        await first.commit([Record(topic, 0, b"k", b"zombie")])
    with pytest.raises(TransactionLost, match="used up"):
        await first.commit([Record(topic, 0, b"k", b"zombie")])
    await second.commit([Record(topic, 0, b"k", b"second")])
    await first.close()
    await second.close()
    assert [r.value for r in await seen(kafka, topic, 2)] == [b"first", b"second"]


async def test_offsets_are_committed_with_the_records(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    group = f"{topic}.group"
    writer = await opened(kafka_client, topic)
    offsets = {TopicPartition(topic, 0): 7, TopicPartition(topic, 2): 9}
    await writer.commit([Record(topic, 1, b"k", b"v")], group=group, offsets=offsets)
    await writer.commit([], group=group, offsets={TopicPartition(topic, 0): 8})
    await writer.close()
    await wait_until(lambda: offset_of(kafka.address, group, topic, 0) == 8)
    assert offset_of(kafka.address, group, topic, 1) is None
    assert offset_of(kafka.address, group, topic, 2) == 9


@pytest.mark.embedded_lacks("the embedded broker does not end transactions that are open for long")
async def test_a_transaction_open_for_too_long_is_ended_by_the_brokers(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    settings = kafka_client._settings.model_copy(update={"transaction_timeout": 1.0})
    frozen = KafkaClient(settings).producer(topic)
    await frozen.start()
    await frozen.begin_transaction()
    await frozen.send_and_wait(topic, b"held back", partition=0)
    writer = await opened(kafka_client, f"{topic}.other")
    await writer.commit([Record(topic, 0, b"k", b"behind it")])
    await writer.close()
    try:
        assert [r.value for r in await seen(kafka, topic, 1)] == [b"behind it"]
    finally:
        await end_producer(frozen, discard=True)


async def test_without_a_transactional_id_records_are_written_and_acknowledged(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    writer = await opened(kafka_client, None)
    await writer.commit([Record(topic, 0, b"k", b"1"), Record(topic, 1, b"k", b"2")])
    await writer.commit([Record(topic, 0, b"k", b"3")])
    await writer.close()
    assert [r.value for r in await seen(kafka, topic, 3)] == [b"1", b"3", b"2"]


async def test_a_missing_topic_is_named_and_not_created(
    kafka: Broker, kafka_client: KafkaClient, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.kafka.client.REQUEST_TIMEOUT", 1.0)
    missing = f"{topic}.missing"
    writer = await opened(kafka_client, topic)
    assert await writer.partitions(topic) == 3
    with pytest.raises(KafkaAway, match="no such topic"):
        await writer.partitions(missing)
    with pytest.raises(KafkaAway, match="topics apply"):
        await writer.commit([Record(missing, 0, b"k", b"v")])
    await writer.close()
    assert missing not in list_topics(kafka.address)


@pytest.mark.parametrize(
    ("partitioner", "ours"), [("murmur2_random", murmur2), ("consistent", crc32)]
)
async def test_partitions_are_those_that_librdkafka_chooses(
    kafka: Broker, topic: str, partitioner: str, ours: Callable[[bytes, int], int]
) -> None:
    """Its murmur2 is the Java client's, its consistent is CRC32."""
    producer = Producer({"bootstrap.servers": kafka.address, "partitioner": partitioner})
    keys = [f"run-{i}-{'x' * (i % 7)}".encode() for i in range(200)] + ["ключ".encode()]
    for key in keys:
        producer.produce(topic, key=key, value=b"")
    await asyncio.to_thread(producer.flush, 30)
    records = await seen(kafka, topic, len(keys))
    assert {r.key: r.partition for r in records} == {key: ours(key, 3) for key in keys}
