"""Where an event went, or where it was left and why."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition
from source_bench import LAYOUT, START, Bench, Crash

from bridge.clock import SECOND, utc
from bridge.source.identity import digest
from bridge.source.tools.left_out import Account, Sighting, look, reasons
from bridge.source.tools.rewind import replay
from bridge.source.tools.why import EventPlace, certificates, places


async def found(bench: Bench, event: dict[str, Any], *, named: bool = True) -> list[EventPlace]:
    run_id = event["run_id"] if named else None
    return await places(bench.view(), event["event_id"], run_id)


async def seen(bench: Bench, event: dict[str, Any], *, named: bool) -> Sighting:
    return await look(bench.view(), event["event_id"], event["run_id"] if named else None)


async def why(bench: Bench, event: dict[str, Any], *, named: bool = True) -> str:
    """Return why an event is not on the topic."""
    assert await found(bench, event) == []
    view = bench.view()
    checkpoint = await view.desk.look()
    account = Account(checkpoint, view.lateness(checkpoint), view.source.audit_interval)
    name = digest(event["run_id"], event["event_id"])
    return "; ".join(reasons(account, name, await seen(bench, event, named=named)))


# Where it is


@pytest.mark.parametrize("named", [True, False])
async def test_an_event_is_found_with_the_sweep_and_the_page_that_brought_it(
    *, named: bool
) -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    (event,) = bench.api.insert(1)
    await bench.later()
    (place,) = await found(bench, event, named=named)
    record = place.kept.record
    (written,) = [
        one
        for one in bench.topics.kafka.records(LAYOUT.events)
        if dict(one.headers)["ce_id"].decode().endswith(event["event_id"])
    ]
    assert (record.partition, record.offset) == (written.partition, written.offset)
    assert (place.late, place.failed, place.replay) == (False, None, None)
    assert place.origin["source"] == "default"
    assert (place.origin["page"], place.origin["size"]) == ("1", "50")
    (told,) = (await certificates(bench.view(), [place])).values()
    assert str(told["batch"]) == place.origin["batch"]
    assert told["sweep"]["number"] == int(place.origin["sweep"])
    assert told["sweep"]["published"] == 1


async def test_a_late_event_says_so_and_a_replay_is_another_place() -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    (event,) = bench.api.insert(1, run_id=bench.api.events()[0]["run_id"], ago=60)
    bench.api.insert(1, run_id=event["run_id"])
    await bench.later(0.5)
    (event,) = bench.api.insert(1, run_id=event["run_id"], ago=100)
    await bench.later()
    (place,) = await found(bench, event)
    assert place.late
    other = [TopicPartition(LAYOUT.events, number) for number in range(6)]
    done = await replay(bench.view(), START - 600 * SECOND, other, lambda _: None)
    first, again = await found(bench, event)
    assert (first.replay, again.replay) == (None, done.replay_id)
    assert {"pass": "replay"}.items() <= again.origin.items()


@pytest.mark.parametrize("named", [True, False])
async def test_a_dead_letter_is_found_by_its_digest(*, named: bool) -> None:
    bench = Bench(events=100)
    await bench.catch_up()
    (event,) = bench.api.insert(1, fields={"timestamp": "soon"})
    await bench.later()
    (place,) = await found(bench, event, named=named)
    assert place.kept.record.topic == LAYOUT.dead_letters
    assert (place.failed, place.late) == ("bad_timestamp", None)


async def test_a_certificate_that_retention_deleted_is_not_there() -> None:
    bench = Bench(events=100)
    await bench.catch_up()
    there = await found(bench, bench.api.events()[0])
    assert await certificates(bench.view(), there)
    bench.topics.kafka.logs[TopicPartition(LAYOUT.audit, 0)].clear()
    assert await certificates(bench.view(), there) == {}


# Where it was left


async def test_nothing_is_read_yet() -> None:
    bench = Bench(events=10)
    told = await why(bench, bench.api.events()[0])
    assert told == "the source has not begun to read the feed: is a bridge running?"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (0.0, "the next poll reads it"),
        (300.0, "within the lateness window of 900 s"),
        (2000.0, "The next audit of its run publishes it, within 600 s"),
    ],
)
async def test_what_comes_next_depends_on_its_time(ago: float, words: str, *, named: bool) -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    bench.clock.pass_by(10)
    (event,) = bench.api.insert(1, ago=ago)
    assert words in await why(bench, event, named=named)
    sighting = await seen(bench, event, named=named)
    assert sighting.in_feed is not None
    assert sighting.in_run is not None
    assert sighting.in_feed.digest == sighting.in_run.digest


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (None, "it has not come to this one yet"),
        (0.0, "it is newer than that: polls beside it read it"),
        (36_000.0, "it was not there when its time was read: the audit of its run publishes it"),
    ],
)
async def test_a_first_climb_says_how_far_it_is(ago: float | None, words: str) -> None:
    bench = Bench(events=3000, past=36_000)
    bench.api.seconds = 0.3
    bench.topics.crash(3, "before")
    with pytest.raises(Crash):
        await bench.catch_up()
    bench.clock.pass_by(10)
    new = bench.api.insert(1, ago=ago) if ago is not None else None
    (event,) = new or bench.api.events()[-1:]
    told = await why(bench, event)
    state = bench.topics.state()
    climb = state.position.climb
    assert climb is not None
    assert (state.position.frontier, state.published > 0) == (None, True)
    assert f"as it was at {utc(climb.began)}: everything up to {utc(climb.low)} is publ" in told
    assert f"{state.published} events so far" in told
    assert words in told


async def test_it_is_older_than_the_start() -> None:
    bench = Bench(events=300, past=3600, start="2026-03-09T11:30:00Z")
    await bench.catch_up()
    assert "where the source was told to begin" in await why(bench, bench.api.events()[0])


async def test_it_was_there_before_a_start_at_latest() -> None:
    bench = Bench(events=300, past=3600, start="latest")
    await bench.catch_up()
    assert "remembered and not published" in await why(bench, bench.api.events()[-2])


async def test_it_is_older_than_what_is_remembered() -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    for _ in range(3):
        bench.api.insert(1)
        await bench.later(8000)
    (event,) = bench.api.insert(1, ago=20_000)
    assert "passes over the feed leave it out" in await why(bench, event)


async def test_it_was_published_and_retention_deleted_it() -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    event = bench.api.events()[0]
    (place,) = await found(bench, event)
    at = TopicPartition(LAYOUT.events, place.kept.record.partition)
    bench.topics.kafka.expire(at, bench.topics.kafka.ends[at])
    assert "no longer on the topic: retention" in await why(bench, event)


async def test_only_its_runs_list_shows_it() -> None:
    bench = Bench(events=300, past=3600, behaviour={"newest_only": 50})
    (event,) = bench.api.insert(1, ago=3000)
    words = await why(bench, event)
    assert "the feed does not show it any more" in words


@pytest.mark.parametrize("named", [True, False])
async def test_the_api_does_not_show_it(*, named: bool) -> None:
    bench = Bench(events=300, past=3600)
    await bench.catch_up()
    event = {"event_id": "no-such", "run_id": bench.api.events()[0]["run_id"]}
    assert "the API shows no such event" in await why(bench, event, named=named)
