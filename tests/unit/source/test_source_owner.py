"""Who works on a source: taking over, standing by, giving up, and refusing what was damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from source_bench import LAYOUT, SETTINGS, STATE, Bench
from source_codec import CHECKPOINT, CODEC
from source_owners import ID, Own, assert_exact, opened, published, until

from bridge.clock import utc
from bridge.errors import GaveUp, StateError, TransactionLost
from bridge.kafka.producer import Record
from bridge.kafka.resets import RESET_SECONDS, RESETS
from bridge.metrics import METRICS
from bridge.source.checkpoint.records import claim_record, records
from bridge.source.owner import HELD_SECONDS
from bridge.source.tools.repair import repair


def shown(metric: str, **labels: str) -> float | None:
    return METRICS.get_sample_value(metric, labels)


def losing(
    bench: Bench, times: int, *, stage: str = "before"
) -> Callable[[str, Sequence[Record]], Any]:
    """Return a hook that loses so many transactions with events."""
    left = times

    async def hook(at: str, records: Sequence[Record]) -> None:
        nonlocal left
        if at == stage and left and any(one.topic == LAYOUT.events for one in records):
            left -= 1
            raise TransactionLost("nobody knows")

    return hook


async def test_an_owner_publishes_and_ends_when_asked(own: Own) -> None:
    bench = Bench(events=700)
    owner = own(bench)
    await until(published(bench, 700), owner)
    assert owner.health.reasons == {}
    status = owner.source.status()
    assert (status["state"], status["published"], status["late"]) == ("tailing", 700, 0)
    assert status["remembered"] == 700
    newest = max(event["timestamp"] for event in bench.topics.events())
    assert status["frontier"] == utc(newest)
    await owner.end()
    assert_exact(bench)
    assert owner.source.status() == {"name": "default", "state": "standing by"}
    assert owner.health.stuck() == []
    live = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
    assert not [key for key, value in live.items() if value and (key or b"").startswith(b"claim")]


async def test_whoever_has_no_lease_stands_by_and_touches_nothing(own: Own) -> None:
    bench = Bench(events=20)
    owner = own(bench, assigned=False)
    before = bench.clock.monotonic()
    await until(lambda: bench.clock.monotonic() > before + 60, owner)
    assert not owner.works
    assert bench.topics.commits == 0
    assert bench.api.asked == []
    assert owner.health.reasons == {}, "standing by is being ready"
    owner.process.assigned.add(STATE)
    await until(published(bench, 20), owner)


async def test_the_next_owner_goes_on_where_the_first_was(own: Own) -> None:
    bench = Bench(events=300)
    first, second = own(bench), own(bench, assigned=False)
    await until(published(bench, 300), first, second)
    first.process.assigned.clear()
    second.process.assigned.add(STATE)
    await until(lambda: second.works and not first.works, first, second)
    bench.api.insert(5)
    await until(published(bench, 305), first, second)
    assert_exact(bench)


async def test_nothing_is_written_while_our_schema_ids_mean_something_else(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(events=2000)
    bench.api.seconds = 0.5
    owner = own(bench)
    await until(lambda: len(bench.topics.events()) > 500, owner)
    monkeypatch.setattr(CODEC, "trouble", "the registry was reset")
    await until(lambda: owner.health.reasons, owner)
    assert owner.health.reasons == {"source default": "the registry was reset"}
    written, before = bench.topics.commits, bench.clock.monotonic()
    await until(lambda: bench.clock.monotonic() > before + 100, owner, deadline=200)
    assert bench.topics.commits == written
    monkeypatch.setattr(CODEC, "trouble", None)
    await until(published(bench, 2000), owner)
    assert owner.health.reasons == {}
    assert_exact(bench)


async def test_a_killed_owner_leaves_nothing_undone(own: Own) -> None:
    bench = Bench(events=2000)
    bench.api.seconds = 0.5
    first = own(bench)
    await until(lambda: len(bench.topics.events()) > 500, first)
    first.process.dead = True
    second = own(bench)
    await until(published(bench, 2000), second)
    assert_exact(bench)


async def test_two_who_both_think_they_own_it_publish_once(own: Own) -> None:
    """The group shows the partition to both: the epoch lets one write, the other stands by."""
    bench = Bench(events=50)
    first, second = own(bench), own(bench)
    for count in range(10):
        bench.api.insert(3)
        await until(published(bench, 50 + 3 * (count + 1)), first, second)
    assert opened(bench) > 2, "they took it from each other"
    assert_exact(bench)
    first.process.assigned.clear()
    await until(lambda: second.works and not first.works, first, second)
    bench.api.insert(1)
    await until(published(bench, 81), first, second)
    assert_exact(bench)


async def test_a_fenced_owner_waits_for_the_group_before_it_comes_back(own: Own) -> None:
    bench = Bench(events=10)
    owner = own(bench)
    await until(published(bench, 10), owner)
    bench.topics.kafka.epochs[ID] += 1  # somebody else opened a producer
    bench.api.insert(1)
    fenced_at = bench.clock.monotonic()
    await until(published(bench, 11), owner)
    assert bench.clock.monotonic() - fenced_at >= 1.5 * SETTINGS.kafka.session_timeout
    assert_exact(bench)


@pytest.mark.parametrize("stage", ["before", "after"])
async def test_lost_transactions_are_read_back(own: Own, stage: str) -> None:
    """Whether it was committed or not: the next owner's state says it, here the same process."""
    bench = Bench(events=300)
    bench.topics.kafka.hook = losing(bench, RESETS, stage=stage)
    owner = own(bench)
    await until(published(bench, 300), owner)
    assert opened(bench) >= 1 + (RESETS if stage == "before" else 1)
    assert_exact(bench)


async def test_too_many_lost_transactions_end_the_process(own: Own) -> None:
    bench = Bench(events=300)
    bench.topics.kafka.hook = losing(bench, RESETS + 1)
    owner = own(bench)
    with pytest.raises(GaveUp, match="4 transactions were lost"):
        await asyncio.wait_for(owner.work, 10)


async def test_lost_transactions_now_and_then_do_not(own: Own) -> None:
    bench = Bench(events=10)
    owner = own(bench)
    await until(published(bench, 10), owner)
    for count in range(3 * RESETS):
        bench.topics.kafka.hook = losing(bench, 1)
        bench.api.insert(1)
        await until(published(bench, 11 + count), owner)
        bench.clock.pass_by(RESET_SECONDS / RESETS + 1)
    assert_exact(bench)


async def test_a_refused_key_shuts_the_gate_and_nothing_seems_to_hang(own: Own) -> None:
    bench = Bench(events=100)
    owner = own(bench)
    await until(published(bench, 100), owner)
    bench.api.simulator.control("key", {"api_key": "another"})
    bench.api.insert(2)
    await until(lambda: "api key" in owner.health.reasons, owner)
    assert not owner.gate.is_open
    assert owner.source.status()["state"] == "waiting for an API key that is let in"
    long_ago = bench.clock.monotonic()
    await until(lambda: bench.clock.monotonic() > long_ago + 1000, owner)
    assert owner.health.stuck() == [], "a restart would not bring another key"
    assert len(bench.topics.events()) == 100
    assert bench.topics.letters() == []
    bench.api.simulator.control("key", {"api_key": None})
    await until(published(bench, 102), owner)
    assert owner.health.reasons == {}


async def test_a_key_that_is_refused_from_the_start_is_no_standing_by(own: Own) -> None:
    bench = Bench(events=10)
    bench.api.simulator.control("key", {"api_key": "another"})
    owner = own(bench)
    await until(lambda: owner.source.status()["state"] != "standing by", owner)
    await until(lambda: not owner.gate.is_open, owner)
    assert owner.source.status()["state"] == "waiting for an API key that is let in"
    bench.api.simulator.control("key", {"api_key": None})
    await until(published(bench, 10), owner)
    assert owner.source.status()["state"] == "tailing"


async def test_a_broker_that_is_away_is_waited_for(own: Own) -> None:
    bench = Bench(events=100)
    owner = own(bench)
    await until(published(bench, 100), owner)
    bench.topics.kafka.away = True
    bench.api.insert(2)
    await until(lambda: owner.health.reasons, owner)
    assert any("broker" in reason for reason in owner.health.reasons.values())
    long_ago = bench.clock.monotonic()
    await until(lambda: bench.clock.monotonic() > long_ago + 300, owner)
    assert owner.health.stuck() == []
    bench.topics.kafka.away = False
    await until(published(bench, 102), owner)
    assert owner.health.reasons == {}
    assert_exact(bench)


@pytest.mark.parametrize("status", [404, 500, 429])
async def test_an_api_that_does_not_answer_is_waited_for(own: Own, status: int) -> None:
    bench = Bench(events=100)
    owner = own(bench)
    await until(published(bench, 100), owner)
    bench.api.script = lambda _: httpx.Response(status)
    bench.api.insert(2)
    await until(lambda: "source default" in owner.health.reasons, owner)
    assert str(status) in owner.health.reasons["source default"]
    long_ago = bench.clock.monotonic()
    asked = len(bench.api.asked)
    await until(lambda: bench.clock.monotonic() > long_ago + 600, owner)
    assert owner.health.stuck() == []
    assert len(bench.api.asked) - asked < 60, "it waits longer each time"
    bench.api.script = None
    await until(published(bench, 102), owner)
    assert owner.health.reasons == {}


async def test_a_climb_of_hours_neither_hangs_nor_is_unready(own: Own) -> None:
    bench = Bench(events=2500)
    owner = own(bench)
    trouble: list[object] = []

    def look(_: httpx.Request) -> None:
        bench.clock.pass_by(40)
        if len(bench.api.asked) > 2:
            trouble.extend([*owner.health.stuck(), *owner.health.reasons])

    bench.api.script = look
    await until(published(bench, 2500), owner)
    assert bench.clock.monotonic() > 2000
    assert trouble == []
    assert_exact(bench)


async def test_without_transactions_the_checkpoint_is_kept_all_the_same(own: Own) -> None:
    bench = Bench(events=300)
    first = own(bench, delivery="at_least_once")
    await until(published(bench, 300), first)
    assert opened(bench) == 0
    await first.end()
    second = own(bench, delivery="at_least_once")
    bench.api.insert(2)
    await until(published(bench, 302), second)
    assert_exact(bench)


async def test_the_records_of_other_sources_are_left_alone(own: Own) -> None:
    bench = Bench(events=20)
    other = CODEC.encode(CHECKPOINT, claim_record("somebody", 1))
    strangers = ["frontier/other", "seg/other/1", "claim/other/x", "claim/default.2/x"]
    for key in strangers:
        bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, key.encode(), other))
    owner = own(bench)
    await until(published(bench, 20), owner)
    live = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
    assert all(live[key.encode()] == other for key in strangers)


async def filled(own: Own) -> Bench:
    """A source that has published 20 events, and its owner gone."""
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    return bench


def of_another_feed(bench: Bench) -> bytes:
    """The source's frontier, as if it were of another account's feed."""
    state = bench.topics.state()
    state.feed = state.account = "another"
    plan = state.plan([], [], state.position, server_time=0, keep=0)
    frontier = dict(records(state, plan))["frontier/default"]
    assert frontier is not None
    return CODEC.encode(CHECKPOINT, frontier)


async def test_the_checkpoint_of_another_feed_ends_the_process_before_anything_is_written(
    own: Own,
) -> None:
    bench = await filled(own)
    value = of_another_feed(bench)
    bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, b"frontier/default", value))
    bench.api.insert(1)
    second = own(bench)
    with pytest.raises(StateError):
        await asyncio.wait_for(second.work, 10)
    assert len(bench.topics.events()) == 20


SEGMENT = {"entries": b"", "settled": 0, "runs": [], "previous": b"", "chain": bytes(16)}
RUBBISH = {
    "text": b"garbage",
    "nothing": b"",
    "half a header": b"\0\0\0",
    "a claim": CODEC.encode(CHECKPOINT, claim_record("somebody", 1)),
    "a segment": CODEC.encode(
        CHECKPOINT, {"version": 2, "body": ("missionbridge.v1.Segment", {**SEGMENT, "batch": -1})}
    ),
    "a later version": CODEC.encode(
        CHECKPOINT, {"version": 9, "body": ("missionbridge.v1.Segment", {**SEGMENT, "batch": 1})}
    ),
}


@pytest.mark.parametrize("what", RUBBISH)
@pytest.mark.parametrize(
    "key", ["frontier/default", "seg/default/1", "seg/default/-1", "seg/default/x", "run/default/x"]
)
async def test_rubbish_in_a_checkpoint_holds_back_its_source_alone_until_it_is_repaired(
    own: Own, key: str, what: str
) -> None:
    bench = await filled(own)
    bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, key.encode(), RUBBISH[what]))
    bench.api.insert(1)
    second = own(bench)
    if what == "a segment" and key.startswith("run/"):
        await until(published(bench, 21), second)  # it names no run and is no harm
        return
    await until(lambda: second.source.status()["state"] == "held back", second)
    at = bench.clock.monotonic()
    commits = bench.topics.commits
    await until(lambda: bench.clock.monotonic() > at + 3 * HELD_SECONDS, second)
    assert bench.topics.commits == commits, "a writer would fence the repair"
    reason = second.health.reasons["source default"]
    assert reason.startswith("held back: ")
    assert second.source.status()["held_back"] in reason
    assert shown("bridge_source_held_back", source="default") == 1
    assert len(bench.topics.events()) == 20
    if what == "a later version" and key.startswith("frontier/"):
        return  # nothing is made of what a later bridge wrote
    assert await repair(bench.view(), dry=False) is not None
    await until(published(bench, 21), second)
    assert second.health.reasons == {}
    assert shown("bridge_source_held_back", source="default") == 0
    assert_exact(bench)


@pytest.mark.parametrize(
    "key",
    [b"claim/default/x", b"frontier/other", b"seg/other/1", b"\xff", b"seg/default/\xff", None],
)
async def test_rubbish_that_is_not_its_own_position_keeps_no_source_from_working(
    own: Own, key: bytes | None
) -> None:
    bench = Bench(events=20)
    bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, key, b"garbage"))
    owner = own(bench)
    await until(published(bench, 20), owner)
    assert_exact(bench)
