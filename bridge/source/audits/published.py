"""What is on the topics of one run: the last resort where digests are expired."""

from __future__ import annotations

from contextlib import aclosing

from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import log_bounds, read_partition
from bridge.source.writing.headers import REPLAY, digest_of, headers_of
from bridge.source.writing.publish import Layout


async def published(
    kafka: KafkaClient, layout: Layout, run_id: str, since: Micros, *, timeout: float
) -> set[bytes] | None:
    """Return the digests of a run's events, dead letters included.

    All partitions are read: once there may have been fewer. None if the log of one does not reach
    back to `since`, the time of the run's oldest event: what is not there may have been deleted by
    retention. Raises KafkaAway.
    """
    key = run_id.encode()
    found: set[bytes] = set()
    places = [(layout.events, number) for number in range(layout.event_partitions)]
    places.append((layout.dead_letters, 0))
    for topic, partition in places:
        begin, _ = await log_bounds(kafka, TopicPartition(topic, partition), timeout=timeout)
        # What retention has emptied holds no record that could say how far it reaches back.
        first: Micros | None = None
        records = read_partition(kafka, topic, partition, until=None, timeout=timeout)
        async with aclosing(records):
            async for record in records:
                first = record.timestamp * 1000 if first is None else first
                headers = headers_of(record)
                is_own = record.key == key and REPLAY not in headers
                if is_own and (one := digest_of(record, headers)):
                    found.add(one)
        if topic == layout.events and begin and (first is None or first > since):
            return None
    return found
