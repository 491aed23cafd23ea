"""What the topics say of one run: all of its events, or that they cannot say."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from source_bench import LAYOUT, START, Bench
from support.fake_kafka import Process

from bridge.clock import SECOND, Micros
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record
from bridge.source.audits.published import published
from bridge.source.identity import digest


@pytest.fixture
async def bench() -> Bench:
    """A source that has published events of a few runs, one of them as a dead letter."""
    bench = Bench(events=100)
    bench.topics.kafka.now = bench.clock.now
    await bench.catch_up()
    bench.api.insert(1, run_id=run_of(bench), fields={"timestamp": "soon"})
    await bench.later()
    return bench


def run_of(bench: Bench) -> str:
    return str(bench.api.events()[0]["run_id"])


def partition_of(bench: Bench) -> TopicPartition:
    return TopicPartition(LAYOUT.events, murmur2(run_of(bench).encode(), LAYOUT.event_partitions))


async def look(bench: Bench, since: Micros = START - 7200 * SECOND) -> set[bytes] | None:
    kafka: Any = Process(bench.topics.kafka, bench.clock, ())
    return await published(kafka, LAYOUT, run_of(bench), since, timeout=10)


async def test_all_events_of_a_run_are_found_dead_letters_included(bench: Bench) -> None:
    run = run_of(bench)
    ids = [event["event_id"] for event in bench.api.events() if event["run_id"] == run]
    assert len(bench.topics.letters()) == 1
    assert await look(bench) == {digest(run, event_id) for event_id in ids}


async def test_a_replay_proves_nothing(bench: Bench) -> None:
    before = await look(bench)
    headers = (("ce_id", f"{run_of(bench)}/again".encode()), ("bridge_replay_id", b"r"))
    at = partition_of(bench)
    bench.topics.kafka.append(Record(*at, run_of(bench).encode(), b"", headers))
    assert await look(bench) == before


async def test_a_log_that_retention_has_cut_says_nothing_of_older_events(bench: Bench) -> None:
    kafka, at = bench.topics.kafka, partition_of(bench)
    kafka.expire(at, kafka.logs[at][1].offset)
    written = kafka.logs[at][0].timestamp * 1000
    assert await look(bench, since=written - 1) is None
    assert await look(bench, since=written) is not None


async def test_a_log_that_retention_has_emptied_says_nothing(bench: Bench) -> None:
    kafka, at = bench.topics.kafka, partition_of(bench)
    kafka.expire(at, kafka.ends[at])
    assert await look(bench) is None
