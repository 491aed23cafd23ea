"""What is on the topics of one run: the last resort where digests are expired."""

from __future__ import annotations

from bridge.clock import Micros
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import Received, read_partition
from bridge.kafka.partition import murmur2
from bridge.source.publish import DIGEST, Layout
from bridge.source.segment import digest

REPLAY = "bridge_replay_id"
"""Header of events that were written again on purpose: they prove nothing of the first time."""


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
            if record.key == key and (one := event_digest(record)) is not None:
                found.add(one)
        if topic == layout.events and not whole:
            return None
    return found


def event_digest(record: Received) -> bytes | None:
    """Return the digest of the event that a record holds; None for replays and what is no event."""
    headers = dict(record.headers)
    if REPLAY in headers:
        return None
    if DIGEST in headers:
        return bytes.fromhex(headers[DIGEST].decode())
    name = headers.get("ce_id", b"").decode()
    run_id, _, event_id = name.partition("/")
    return digest(run_id, event_id) if event_id else None
