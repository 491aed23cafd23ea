"""What a rebuilt checkpoint takes from the topics, and what it leaves out."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from source_bench import LAYOUT, START, Bench
from source_codec import AUDITS, CODEC, EVENTS, decode
from source_repairs import filled, forget, goes_on, keys, put, repaired

from bridge.clock import SECOND
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record


async def test_without_any_certificate_all_is_read_again_and_nothing_is_doubled() -> None:
    bench = await filled()
    bench.topics.kafka.logs[TopicPartition(LAYOUT.audit, 0)].clear()
    forget(bench, *keys(bench))
    made = await repaired(bench)
    assert made.certificates.newest is None
    assert made.state.position.frontier is None
    await goes_on(bench)


async def test_without_a_certificate_the_frontier_record_says_where_it_stood() -> None:
    bench = await filled()
    frontier = bench.topics.state().position.frontier
    bench.topics.kafka.logs[TopicPartition(LAYOUT.audit, 0)].clear()
    forget(bench, "seg/default/2")
    made = await repaired(bench)
    assert made.state.position.frontier == frontier
    await goes_on(bench)


async def test_a_raised_lateness_window_stays_raised() -> None:
    bench = await filled()
    bench.api.insert(1, ago=800)
    await bench.later()
    bench.api.insert(1)
    await bench.later(20)
    lateness = bench.poller.lateness
    assert lateness > 1000 * SECOND
    forget(bench, *keys(bench))
    await repaired(bench)
    assert bench.start().lateness == lateness
    await goes_on(bench)


async def test_dead_letters_count_as_published() -> None:
    bench = await filled()
    bench.api.insert(1, fields={"timestamp": "soon"})
    bench.api.insert(1, fields={"summary": "x" * 1_100_000})
    bench.api.insert(1, item_text='{"no": "event"}')
    await bench.later(20)
    before, letters = bench.topics.state(), bench.topics.letters()
    assert len(letters) == 3
    forget(bench, "seg/default/2")
    made = await repaired(bench)
    assert made.state.seen.keys() == before.seen.keys()
    assert made.state.runs.keys() == {run for run, one in before.runs.items() if one.count}
    for run, one in made.state.runs.items():
        there = before.runs[run]
        assert (one.count, one.digest) == (there.count, there.digest)
        assert one.newest == there.newest, "a dead letter makes no event late"
    bench.start()
    await bench.later(2000)
    assert bench.topics.letters() == letters
    assert len(bench.topics.events()) == len(bench.api.events()) - 3


@pytest.mark.parametrize("frontier", ["kept", "lost"])
async def test_what_was_there_before_a_start_at_latest_stays_unpublished(frontier: str) -> None:
    bench = Bench(events=300, past=3600, start="latest")
    await bench.catch_up()
    for _ in range(3):
        bench.api.insert(5)
        await bench.later(20)
    assert len(bench.topics.events()) == 15
    lost = ["seg/default/2"] if frontier == "kept" else keys(bench)
    forget(bench, *lost)
    await repaired(bench)
    bench.start()
    bench.api.insert(2)
    await bench.later(2000)
    assert len(bench.topics.events()) == 17


async def test_a_start_at_a_timestamp_is_kept() -> None:
    start = START - 600 * SECOND
    bench = await filled(start="2026-03-09T11:50:00Z")
    there = len(bench.topics.events())
    forget(bench, *keys(bench))
    await repaired(bench)
    assert bench.topics.state().position.floor == start
    bench.start()
    await bench.later(2000)
    assert len(bench.topics.events()) == there


async def test_what_retention_has_deleted_is_not_published_again() -> None:
    bench = Bench(events=300, past=3600)
    bench.topics.kafka.now = bench.clock.now
    await bench.catch_up()
    bench.api.insert(30, runs=10)
    await bench.later(1000)
    whole = len(bench.topics.events())
    for number in range(LAYOUT.event_partitions):
        at = TopicPartition(LAYOUT.events, number)
        first = next(
            r.offset for r in bench.topics.kafka.logs[at] if r.timestamp > START // 1000 + 500_000
        )
        bench.topics.kafka.expire(at, first)
    forget(bench, *keys(bench))
    made = await repaired(bench)
    cut = made.published.reaches_back
    assert len(cut) == sum(begin > 0 for begin in bench.topics.kafka.begins.values()) > 2
    assert made.state.position.kept_from == max(cut.values())
    gone = {event["run_id"] for event in bench.topics.events()} - made.state.runs.keys()
    assert gone, "of some runs nothing is left"
    for run, one in made.state.runs.items():
        where = LAYOUT.events, murmur2(run.encode(), LAYOUT.event_partitions)
        assert (one.count is None) == (where in cut)
    bench.start()
    bench.api.insert(3)
    await bench.later()
    assert len(bench.topics.events()) == whole + 3


async def test_an_emptied_partition_was_written_to_up_to_the_newest_certificate() -> None:
    bench = await filled()
    at = TopicPartition(LAYOUT.events, 3)
    assert bench.topics.kafka.logs[at]
    bench.topics.kafka.expire(at, bench.topics.kafka.ends[at])
    forget(bench, "seg/default/2")
    made = await repaired(bench)
    newest = made.certificates.newest
    assert newest is not None
    assert made.published.reaches_back == {(LAYOUT.events, 3): newest["at"]}


async def test_replays_and_other_sources_are_left_out() -> None:
    bench = await filled()
    there = bench.topics.state()
    kafka = bench.topics.kafka
    (some, *_) = kafka.records(LAYOUT.events)
    foreign = (("bridge_origin", b"source=other;batch=1"),)
    replay = (("bridge_replay_id", b"r"),)
    for headers in (foreign, replay):
        value = CODEC.encode(EVENTS, {**decode(EVENTS, some.value), "event_id": "of another"})
        kafka.append(Record(LAYOUT.events, some.partition, some.key, value, headers))
    told = {**decode(AUDITS, kafka.records(LAYOUT.audit)[-1].value), "source": "other"}
    told = {**told, "batch": 10**6}
    kafka.append(Record(LAYOUT.audit, 0, b"other", CODEC.encode(AUDITS, told)))
    for key in ("frontier/other", "seg/other/1"):
        put(bench, key, b"not ours")
    forget(bench, "seg/default/2")
    made = await repaired(bench)
    assert made.state.seen.keys() == there.seen.keys()
    assert made.state.batch < 10**6
    assert {"frontier/other", "seg/other/1"} <= set(keys(bench))
