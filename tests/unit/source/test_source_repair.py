"""A checkpoint that was damaged is rebuilt from the topics, and the source goes on exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from source_bench import FEED, LAYOUT, STATE, Bench, Crash
from source_codec import AUDITS, CHECKPOINT, CODEC, decode
from source_repairs import filled, forget, goes_on, keys, put, repaired

from bridge.errors import StateError
from bridge.kafka.producer import Record
from bridge.source.checkpoint.records import records
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.windows import BEGINNING
from bridge.source.tools.repair import repair
from bridge.source.tools.replacement import GUARD

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
    monkeypatch.setattr("bridge.source.tools.replacement.AT_ONCE", 1500)
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
    plan = other.plan([], [], other.position, server_time=0, keep=BEGINNING)
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
