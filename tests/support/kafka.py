"""Independent eyes and hands on a Kafka: confluent-kafka, which the bridge itself does not use."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from bridge.clock import Clock

_CLOCK = Clock()


async def wait_until(condition: Callable[[], Any], deadline: float = 30.0) -> Any:
    """Wait until `condition()` is true and return its result; fail after `deadline` seconds."""
    end = _CLOCK.monotonic() + deadline
    while not (result := condition()):
        if _CLOCK.monotonic() > end:
            raise AssertionError(f"not true within {deadline} s: {condition}")
        await _CLOCK.sleep(0.02)
    return result


@dataclass(frozen=True)
class Seen:
    """A committed record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


def read_topic(address: str, topic: str, deadline: float = 30.0) -> list[Seen]:
    """Read every committed record of a topic, each partition up to the oldest open transaction.

    Blocks: call it through `asyncio.to_thread` where something else must go on meanwhile.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 20,
            # A partition in one answer: asked to go on after an aborted transaction, the embedded
            # broker names it again, and then clients drop what its producer committed since.
            "fetch.message.max.bytes": 2**28,
            "fetch.max.bytes": 2**28,
            "receive.message.max.bytes": 2**29,
        }
    )
    seen: list[Seen] = []
    try:
        found = consumer.list_topics(timeout=deadline).topics.get(topic)
        if found is None:
            raise AssertionError(f"there is no topic {topic}")
        open_ends = set(found.partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in open_ends])
        end = _CLOCK.monotonic() + deadline
        while open_ends:
            if _CLOCK.monotonic() > end:
                raise AssertionError(f"{topic} was not read to its end within {deadline} s")
            for message in consumer.consume(1000, timeout=0.2):
                error = message.error()
                if error is None:
                    seen.append(_seen(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_ends.discard(message.partition())
                else:
                    raise AssertionError(f"reading {topic}: {error}")
    finally:
        consumer.close()
    return sorted(seen, key=lambda record: (record.partition, record.offset))


@dataclass(frozen=True)
class Sent:
    """A record to write."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def write_topic(address: str, topic: str, records: Sequence[Sent]) -> None:
    """Write records in their order, partitioned by key as Java's producers do.

    Packed, so that a record may be larger than what brokers accept for a batch.
    """
    producer = Producer(
        {
            "bootstrap.servers": address,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "message.max.bytes": 2**28,
            "compression.type": "gzip",
        }
    )
    refused: list[Any] = []

    def delivered(error: Any, _: Any) -> None:
        if error is not None:
            refused.append(error)

    for record in records:
        headers: Any = list(record.headers)
        producer.produce(topic, record.value, record.key, headers=headers, on_delivery=delivered)
    left = producer.flush(60)
    assert not refused, refused
    assert not left, f"{left} records of {topic} were not written within 60 s"


def leave_open(address: str, transactional_id: str, topic: str, partition: int = 0) -> Producer:
    """Write to a topic in a transaction that somebody else leaves open."""
    stranger = Producer({"bootstrap.servers": address, "transactional.id": transactional_id})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    stranger.produce(topic, key=b"stranger", value=b"", partition=partition)
    assert stranger.flush(30) == 0
    return stranger


def create_topics(
    address: str, partitions: Mapping[str, int], config: Mapping[str, str] | None = None
) -> None:
    """Create topics, by name with their partition counts."""
    admin = AdminClient({"bootstrap.servers": address})
    topics = [
        NewTopic(name, num_partitions=count, replication_factor=-1, config=dict(config or {}))
        for name, count in partitions.items()
    ]
    for future in admin.create_topics(topics, operation_timeout=30).values():
        future.result(30)
    end = _CLOCK.monotonic() + 30
    while not partitions.items() <= list_topics(address).items():
        if _CLOCK.monotonic() > end:
            raise AssertionError(f"topics not shown within 30 s: {partitions}")


def add_partitions(address: str, partitions: Mapping[str, int]) -> None:
    """Raise the partition counts of topics, by name."""
    admin = AdminClient({"bootstrap.servers": address})
    wanted = [NewPartitions(name, count) for name, count in partitions.items()]
    for future in admin.create_partitions(wanted).values():
        future.result(30)
    end = _CLOCK.monotonic() + 30
    while not partitions.items() <= list_topics(address).items():
        if _CLOCK.monotonic() > end:
            raise AssertionError(f"partitions not shown within 30 s: {partitions}")


def list_topics(address: str) -> dict[str, int]:
    """Return all topics with their partition counts."""
    topics = AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).topics
    return {name: len(topic.partitions) for name, topic in topics.items()}


def offset_of(address: str, group: str, topic: str, partition: int) -> int | None:
    """Return the offset that a group committed on a partition, if any."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": group})
    try:
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=30)
    finally:
        consumer.close()
    return None if found.offset < 0 else found.offset


def delete_topics(address: str, prefix: str) -> None:
    """Delete the topics whose names begin with `prefix`."""
    admin = AdminClient({"bootstrap.servers": address})
    names = [name for name in list_topics(address) if name.startswith(prefix)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result(30)


def _seen(message: Any) -> Seen:
    _, timestamp = message.timestamp()
    return Seen(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        timestamp,
    )
