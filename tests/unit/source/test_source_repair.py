"""A checkpoint that was damaged is rebuilt from the topics, and the source goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from source_bench import FEED, LAYOUT, START, STATE, Bench, Crash
from source_codec import AUDITS, CHECKPOINT, CODEC, EVENTS, decode
from support import fake_kafka

from bridge.clock import SECOND
from bridge.errors import StateError
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record
from bridge.source.checkpoint import Checkpoint
from bridge.source.checkpoint_records import records
from bridge.source.repair import Repair, repair
from bridge.source.replacement import GUARD
from bridge.source.sweep import BEGINNING


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_kafka.plug_in(monkeypatch)


async def filled(**options: Any) -> Bench:
    """Return a source that has published some hundred events in several transactions."""
    bench = Bench(events=300, past=3600, **options)
    bench.topics.kafka.now = bench.clock.now
    await bench.catch_up()
    for _ in range(4):
        bench.api.insert(5)
        bench.api.insert(1, ago=30)
        await bench.later(20)
    return bench


def forget(bench: Bench, *keys: str) -> None:
    """Lose records of the checkpoint for good, as when somebody deletes them."""
    log = bench.topics.kafka.logs[STATE]
    log[:] = [record for record in log if (record.key or b"").decode() not in keys]


def put(bench: Bench, key: str, value: bytes) -> None:
    bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, key.encode(), value))


def keys(bench: Bench) -> list[str]:
    """The keys that the checkpoint has."""
    live = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
    return [(key or b"").decode() for key, value in live.items() if value is not None]


async def repaired(bench: Bench) -> Repair:
    made = await repair(bench.view(), dry=False)
    assert made is not None
    return made


async def goes_on(bench: Bench) -> None:
    """The next owner reads what was rebuilt and loses and doubles nothing."""
    bench.start()
    bench.api.insert(3)
    bench.api.insert(2, ago=400)
    await bench.later()
    bench.api.insert(1)
    await bench.later(1000)
    bench.assert_exact()


CRASHES = ("before", "after")
"""A process ends at a commit when it is durable, or when it is not."""

Damage = Callable[[Bench], None]

DAMAGES: dict[str, Damage] = {
    "a segment is missing": lambda bench: forget(bench, "seg/default/2"),
    "a segment was altered": lambda bench: put(
        bench, "seg/default/2", CODEC.encode(CHECKPOINT, _value(bench, "seg/default/1"))
    ),
    "a segment cannot be decoded": lambda bench: put(bench, "seg/default/2", b"garbage"),
    "the frontier is missing": lambda bench: forget(bench, "frontier/default"),
    "the frontier cannot be decoded": lambda bench: put(bench, "frontier/default", b"garbage"),
    "the frontier is something else": lambda bench: put(
        bench, "frontier/default", CODEC.encode(CHECKPOINT, _value(bench, "seg/default/1"))
    ),
    "all segments are missing": lambda bench: forget(
        bench, *(key for key in keys(bench) if key.startswith("seg/"))
    ),
    "everything is gone": lambda bench: forget(bench, *keys(bench)),
}


def _value(bench: Bench, key: str) -> dict[str, Any]:
    (*_, newest) = [r for r in bench.topics.kafka.logs[STATE] if r.key == key.encode()]
    return decode(CHECKPOINT, newest.value)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_source_goes_on_exactly_after_its_repair(damage: str) -> None:
    bench = await filled()
    before = bench.topics.state()
    DAMAGES[damage](bench)
    made = await repaired(bench)
    assert (made.refused is None) == (damage == "everything is gone")
    there = bench.topics.state()
    assert there == made.state
    assert there.seen.keys() == before.seen.keys()
    assert there.published == before.published
    assert there.position.frontier == before.position.frontier
    assert there.batch > before.batch, "numbers of batches are never used again"
    for run, one in before.runs.items():
        if one.first is not None:
            again = there.runs[run]
            assert (again.newest, again.first) == (one.newest, one.first)
            assert (again.count, again.digest) == (one.count, one.digest)
    assert not [key for key in keys(bench) if key.startswith("claim/")]
    await goes_on(bench)


async def test_a_repair_that_ends_early_leaves_the_checkpoint_refused_and_is_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of its many transactions it ends at."""
    monkeypatch.setattr("bridge.source.replacement.AT_ONCE", 1500)
    bench = await filled()
    forget(bench, "seg/default/2")
    begun = bench.topics.commits
    await repaired(bench)
    steps = [(step, at) for step in range(bench.topics.commits - begun) for at in CRASHES]
    assert len(steps) > 10, "segments and runs are in several transactions"
    for step, at in steps:
        bench = await filled()
        before = bench.topics.state()
        forget(bench, "seg/default/2")
        bench.topics.crash(step + 1, at)
        with pytest.raises(Crash):
            await repaired(bench)
        bench.topics.kafka.hook = None
        if (step, at) != steps[-1]:
            with pytest.raises(StateError):
                bench.topics.state()
            await repaired(bench)
        there = bench.topics.state()
        assert there.seen.keys() == before.seen.keys()
        assert there.runs.keys() == {run for run, one in before.runs.items() if one.count}
        await goes_on(bench)


async def test_a_lost_frontier_is_not_lost_again_with_a_repair_that_ends_early() -> None:
    """What it says is nowhere else: here where the source began."""
    bench = Bench(events=300, past=3600, start="latest")
    await bench.catch_up()
    bench.api.insert(5)
    await bench.later()
    began = bench.topics.state().position.audit_floor
    bench.topics.kafka.logs[TopicPartition(LAYOUT.audit, 0)].clear()
    forget(bench, "seg/default/1")
    bench.topics.crash(3, "before")
    with pytest.raises(Crash):
        await repaired(bench)
    bench.topics.kafka.hook = None
    await repaired(bench)
    assert bench.topics.state().position.audit_floor == began


async def test_a_source_is_repaired_in_the_middle_of_a_climb() -> None:
    bench = climbing()
    bench.topics.crash(3, "before")
    with pytest.raises(Crash):
        await bench.catch_up()
    before = bench.topics.state()
    climb = before.position.climb
    assert climb is not None
    assert climb.low > BEGINNING
    forget(bench, "seg/default/1")
    await repaired(bench)
    assert bench.topics.state().position.climb == climb
    await goes_on(bench)


async def test_a_first_climb_that_has_not_left_the_end_is_begun_again() -> None:
    """Its certificate has no height: nothing older was published, and all digests are kept."""
    bench = climbing()
    bench.topics.crash(3, "before")
    with pytest.raises(Crash):
        await bench.catch_up()
    published = len(bench.topics.events())
    log = bench.topics.kafka.logs[TopicPartition(LAYOUT.audit, 0)]
    told = decode(AUDITS, log[-1].value)
    assert told["sweep"]["climb_low"] is not None
    told["sweep"]["climb_low"] = None
    value = CODEC.encode(AUDITS, told)
    bench.topics.kafka.append(Record(LAYOUT.audit, 0, b"default", value))
    forget(bench, *keys(bench))
    made = await repaired(bench)
    assert made.state.position.kept_from is None
    assert len(made.state.seen) == published
    await goes_on(bench)


def climbing() -> Bench:
    """Return a source whose climb takes several transactions, because answers are slow."""
    bench = Bench(events=3000, past=36_000)
    bench.api.seconds = 0.3
    return bench


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


async def test_a_checkpoint_that_fits_is_left_alone() -> None:
    bench = await filled()
    before, commits = bench.topics.state(), bench.topics.commits
    assert await repair(bench.view(), dry=False) is None
    assert (bench.topics.state(), bench.topics.commits) == (before, commits)


async def test_where_nothing_was_ever_published_there_is_nothing_to_repair() -> None:
    bench = Bench()
    assert await repair(bench.view(), dry=False) is None
    assert keys(bench) == []
    assert bench.topics.state() == Checkpoint("default", FEED)


async def test_a_dry_run_finds_the_same_and_writes_nothing() -> None:
    bench = await filled()
    forget(bench, "seg/default/2")
    commits = bench.topics.commits
    dry = await repair(bench.view(), dry=True)
    assert bench.topics.commits == commits
    assert dry is not None
    assert dry.state == (await repaired(bench)).state


async def test_the_checkpoint_of_another_feed_is_not_repaired() -> None:
    bench = await filled()
    other = bench.topics.state()
    other.feed = "another"
    plan = other.plan([], other.position, server_time=0, keep=BEGINNING, publish=None)
    frontier = dict(records(other, plan))["frontier/default"]
    assert frontier is not None
    put(bench, "frontier/default", CODEC.encode(CHECKPOINT, frontier))
    commits = bench.topics.commits
    with pytest.raises(StateError, match="another feed"):
        await repair(bench.view(), dry=True)
    assert bench.topics.commits == commits


async def test_many_events_fill_several_segments() -> None:
    bench = Bench(events=17_000, past=3000, page_size=1000)
    await bench.catch_up()
    forget(bench, "seg/default/1")
    made = await repaired(bench)
    assert len(made.state.segments) == 3
    assert GUARD not in made.state.segments
    assert bench.topics.state() == made.state
    await goes_on(bench)
