"""What is on the topics of one run: the last resort where digests are expired."""

from __future__ import annotations

from bridge.clock import Micros
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import read_partition
from bridge.kafka.partition import murmur2
from bridge.source.publish import Layout
from bridge.source.record_headers import REPLAY, digest_of, headers_of


async def published(
    kafka: KafkaClient, layout: Layout, run_id: str, since: Micros, *, timeout: float
) -> set[bytes] | None:
    """Return the digests of a run's events, dead letters included.

    None if the log of its partition does not reach back to `since`, the time of its oldest event:
    what is not there may have been deleted by retention. Raises KafkaAway.
    """
    key = run_id.encode()
    found: set[bytes] = set()
    places = (
        (layout.events, murmur2(key, layout.event_partitions)),
        (layout.dead_letters, 0),
    )
    for topic, partition in places:
        whole = True
        first = True
        records = read_partition(kafka, topic, partition, until=None, timeout=timeout)
        async for record in records:
            if first and record.offset > 0:
                whole = record.timestamp * 1000 <= since
            first = False
            headers = headers_of(record)
            if record.key == key and REPLAY not in headers and (one := digest_of(record, headers)):
                found.add(one)
        if topic == layout.events and not whole:
            return None
    return found
