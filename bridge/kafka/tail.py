"""Following one partition from the start of its log, records of open transactions included."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from aiokafka import TopicPartition

from bridge.clock import Clock
from bridge.errors import KafkaAway
from bridge.kafka.client import REQUEST_TIMEOUT, KafkaClient, bounded, end_consumer
from bridge.kafka.consumer import SILENCE, Received, log_bounds

_FETCH_MS = 500


@dataclass(frozen=True, slots=True)
class Tail:
    """What arrived, possibly nothing; `whole`: the end that the log had at first is reached."""

    records: list[Received]
    whole: bool


async def follow(
    kafka: KafkaClient, topic: str, partition: int, *, clock: Clock
) -> AsyncGenerator[Tail, None]:
    """Yield what a partition holds and then what comes, every half second or sooner, for ever.

    Nobody's open transaction hides a record, and records of aborted ones are among them. Raises
    KafkaAway when the brokers give no answer for SILENCE seconds.
    """
    at = TopicPartition(topic, partition)
    what = f"following {topic}-{partition}"
    begin, end = await log_bounds(kafka, at, timeout=REQUEST_TIMEOUT)
    consumer = kafka.consumer(group=None, committed=False)
    try:
        async with bounded(what, REQUEST_TIMEOUT):
            await consumer.start()
            consumer.assign([at])
            consumer.seek(at, begin)
        answer, heard = None, clock.monotonic()
        while True:
            async with bounded(what, REQUEST_TIMEOUT):
                fetched = await consumer.getmany(at, timeout_ms=_FETCH_MS)
                position: int = await consumer.position(at)
            yield Tail(fetched.get(at, []), whole=position >= end)
            if (latest := consumer.last_poll_timestamp(at)) != answer or fetched:
                answer, heard = latest, clock.monotonic()
            elif clock.monotonic() - heard > SILENCE:
                raise KafkaAway(f"{what}: no answer to fetches for {SILENCE:.0f} s")
    finally:
        await end_consumer(consumer)
