"""Events once more: found in a list without `since`, each written once, and beginning anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from source_bench import LAYOUT, SETTINGS, START, Bench, Crash
from source_codec import EVENTS, decode

from bridge.clock import SECOND, Micros
from bridge.errors import StateError
from bridge.kafka.partition import murmur2
from bridge.missions.timestamps import micros
from bridge.source.tools.repair import repair
from bridge.source.tools.reset import Start, consequences, known, reset
from bridge.source.tools.rewind import AT_ONCE, Replayed, locate, replay
from bridge.source.writing.headers import headers_of

OWN = [TopicPartition(LAYOUT.events, number) for number in range(LAYOUT.event_partitions)]
OTHER = [TopicPartition("elsewhere", number) for number in range(4)]
HALF: Micros = START - 1800 * SECOND


def since(bench: Bench, low: Micros) -> list[str]:
    """The events that the API has since a time, oldest first."""
    events = [(micros(one["timestamp"]), one["event_id"]) for one in bench.api.events()]
    return [event_id for at, event_id in sorted(events) if at >= low]


# Where they are


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("low", [START - 10**12, HALF, START + 10**9])
async def test_events_are_counted_with_few_requests(order: str, low: Micros) -> None:
    bench = Bench(events=3000, past=3600, behaviour={"order": order})
    found = await locate(bench.view(), low)
    expected = len(since(bench, low))
    assert found.events == expected
    assert len(bench.api.feed_requests()) < 20
    pages = range(found.first_page, found.last_page + 1)
    assert len(pages) in (-(-expected // 50), -(-expected // 50) + 1)
    if order == "newest":
        assert found.first_page == 1


async def test_the_window_that_ends_them_shows_an_older_event_as_well() -> None:
    bench = Bench(events=3000, past=3600)
    found = await locate(bench.view(), HALF)
    assert found.linked is not None
    assert found.linked.offset < found.events < found.linked.offset + found.linked.size


async def test_deletions_meanwhile_do_not_hide_the_boundary() -> None:
    bench = Bench(events=3000, past=3600)
    # Gone before the bisection is over, so that it is led astray and the count is exact.
    drift = {"kind": "drift", "operation": "list_events", "delete": 1, "every": 4, "times": 2}
    bench.api.simulator.control("faults", drift)
    found = await locate(bench.view(), HALF)
    alive = [one for one in bench.api.events() if one["deleted_at"] is None]
    left = sum(micros(one["timestamp"]) >= HALF for one in alive)
    assert 0 < left < len(since(bench, HALF))
    assert found.events == left


async def test_an_empty_list_has_no_events() -> None:
    found = await locate(Bench().view(), HALF)
    assert (found.events, found.last_page) == (0, 0)


# Once more


async def replayed(
    bench: Bench, low: Micros, topic: list[TopicPartition], tell: Callable[[Replayed], None] = print
) -> tuple[Replayed, list[dict[str, Any]]]:
    """Replay; return what was told, and the events that were written."""
    done = await replay(bench.view(), low, topic, tell)
    written = bench.topics.kafka.records(topic[0].topic)
    marked = [one for one in written if headers_of(one).get("bridge_replay_id") == done.replay_id]
    return done, [decode(EVENTS, record.value) for record in marked]


async def test_events_since_a_time_are_written_once_more_to_the_same_topic() -> None:
    bench = Bench(events=3000, past=3600)
    await bench.catch_up()
    before, audits = bench.topics.state(), len(bench.topics.audits())
    done, events = await replayed(bench, HALF, OWN)
    assert sorted(one["event_id"] for one in events) == sorted(since(bench, HALF))
    assert (done.events, done.transactions) == (len(events), 1)
    assert bench.topics.state() == before, "no position is changed"
    assert len(bench.topics.audits()) == audits
    originals = {one["event_id"]: one for one in bench.topics.events() if one not in events}
    for one in events:
        first = originals[one["event_id"]]
        volatile = {"late": one["late"], "ingested_at": one["ingested_at"]}
        assert one == {**first, **volatile}


async def test_in_the_same_topic_all_but_the_newest_of_a_run_come_late() -> None:
    bench = Bench(events=500, past=3600)
    await bench.catch_up()
    _, events = await replayed(bench, HALF, OWN)
    newest = {one["run_id"]: one["timestamp"] for one in events}
    assert all(one["late"] == (one["timestamp"] < newest[one["run_id"]]) for one in events)


async def test_in_another_topic_they_come_in_order_on_the_partitions_of_their_runs() -> None:
    bench = Bench(events=500, past=3600)
    await bench.catch_up()
    _, events = await replayed(bench, HALF, OTHER)
    assert len(events) == len(since(bench, HALF))
    assert not any(one["late"] for one in events)
    for record in bench.topics.kafka.records("elsewhere"):
        assert record.partition == murmur2(record.key or b"", len(OTHER))
        assert headers_of(record)["ce_specversion"] == "1.0"


async def test_many_are_written_in_several_transactions_and_told() -> None:
    bench = Bench(events=2 * AT_ONCE + 500, past=3600, page_size=1000)
    told: list[int] = []
    ids: list[str] = []
    bench.topics.kafka.hook = None
    done, events = await replayed(
        bench, START - 4000 * SECOND, OTHER, lambda one: told.append(one.events)
    )
    ids = [one["event_id"] for one in events]
    assert len(ids) == len(set(ids)) == done.events == 2 * AT_ONCE + 500
    assert told == [AT_ONCE, 2 * AT_ONCE, done.events]


async def test_what_cannot_be_converted_is_left_out_and_counted() -> None:
    bench = Bench(events=100, past=3600)
    bench.api.insert(1, fields={"timestamp": "soon"})
    bench.api.insert(1, item_text='{"no": "event"}')
    done, events = await replayed(bench, START - 4000 * SECOND, OTHER)
    assert (done.events, done.dead, len(events)) == (100, 2, 100)


async def test_a_replay_of_its_own_does_not_fence_the_source() -> None:
    bench = Bench(events=100, past=3600)
    await bench.catch_up()
    await replayed(bench, HALF, OWN)
    bench.api.insert(1)
    await bench.later()
    assert len(bench.topics.state().seen) == 101


# Anew


def tombstones(bench: Bench) -> int:
    return sum(
        record.value is None
        for record in bench.topics.kafka.records(LAYOUT.checkpoint)
        if (record.key or b"").startswith((b"seg/", b"run/"))
    )


async def after(bench: Bench, start: Start) -> list[dict[str, Any]]:
    """Reset a source that has published everything; return what is published after that."""
    await bench.catch_up()
    before, batch = len(bench.topics.events()), bench.topics.state().batch
    await reset(bench.view(), start)
    assert tombstones(bench) > 0
    assert bench.topics.state().batch >= batch, "numbers of batches are never used again"
    bench.start()
    bench.api.insert(2)
    await bench.later()
    return bench.topics.events()[before:]


async def test_a_source_begins_anew_with_everything() -> None:
    bench = Bench(events=700, past=3600)
    again = await after(bench, "earliest")
    assert len({one["event_id"] for one in again}) == len(again) == 702


async def test_a_source_begins_anew_with_what_comes_from_now_on() -> None:
    bench = Bench(events=700, past=3600)
    assert len(await after(bench, "latest")) == 2
    assert bench.topics.state().position.floor is not None


async def test_a_source_begins_anew_at_a_time() -> None:
    bench = Bench(events=700, past=3600)
    expected = len(since(bench, HALF)) + 2
    assert len(await after(bench, HALF)) == expected


@pytest.mark.parametrize("start", ["earliest", "latest", HALF])
async def test_a_damaged_checkpoint_can_be_reset_as_well(start: Start) -> None:
    bench = Bench(events=100, past=3600)
    await bench.catch_up()
    log = bench.topics.kafka.logs[TopicPartition(LAYOUT.checkpoint, 0)]
    log[:] = [record for record in log if record.key != b"seg/default/1"]
    assert await known(bench.view()) is None
    state = await reset(bench.view(), start)
    assert bench.topics.state() == state


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_reset_that_ends_early_leaves_the_checkpoint_refused(start: Start) -> None:
    for commit in range(2, 6):
        bench = Bench(events=700, past=3600)
        await bench.catch_up()
        bench.topics.crash(commit, "before")
        with pytest.raises(Crash):
            await reset(bench.view(), start)
        bench.topics.kafka.hook = None
        if commit > 2:
            with pytest.raises(StateError):
                bench.topics.state()
        await reset(bench.view(), start)
        assert bench.topics.state().published == 0
        if commit == 5:
            return


async def test_who_works_on_the_source_is_fenced() -> None:
    bench = Bench(events=100, past=3600)
    await bench.catch_up()
    before = bench.topics.kafka.epochs[SETTINGS.transactional_id_source("default")]
    await reset(bench.view(), "earliest")
    assert bench.topics.kafka.epochs[SETTINGS.transactional_id_source("default")] == before + 1
    assert await repair(bench.view(), dry=True) is None


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("earliest", "come twice; 100 are published"),
        ("latest", "is not published yet never will be"),
        (HALF, "come twice; 100 are published"),
        (START + 3600 * SECOND, "to 2026-03-09T13:00:00.000Z is never published"),
    ],
)
async def test_what_follows_is_said_before(start: Start, words: str) -> None:
    bench = Bench(events=100, past=3600)
    await bench.catch_up()
    assert any(words in line for line in consequences(await known(bench.view()), start))


async def test_of_a_checkpoint_that_is_refused_nothing_is_claimed() -> None:
    assert consequences(None, "earliest")[-1].endswith("its checkpoint is refused")
    bench = Bench(events=100)
    assert "nothing is published" in consequences(await known(bench.view()), "earliest")[-1]
