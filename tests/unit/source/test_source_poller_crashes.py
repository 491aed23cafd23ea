"""Turns that end in the middle: nothing is lost or doubled, and the next one goes on."""

from __future__ import annotations

import httpx
import pytest
from source_bench import Bench, Crash

from bridge.errors import TransactionLost
from bridge.source import long_pass
from bridge.source.checkpoint.position import Position
from bridge.source.writing import transaction


@pytest.mark.parametrize(
    ("stage", "commit"), [("before", 2), ("before", 3), ("after", 1), ("after", 2), ("after", 3)]
)
async def test_a_crash_at_any_commit_of_a_climb_loses_and_doubles_nothing(
    stage: str, commit: int
) -> None:
    """Each life ends at its n-th commit; the climb ends all the same, as it goes on each time."""
    behaviour = {"late_probability": 0.05, "late_seconds": 60}
    bench = Bench(events=1500, behaviour=behaviour)
    bench.api.seconds = 0.4
    lives = 0
    while bench.poller.checkpoint.position.frontier is None:
        bench.start()
        lives += 1
        assert lives < 60, "it does not get anywhere"
        bench.topics.crash(commit, stage)
        bench.api.insert(1)
        try:
            await bench.catch_up()
        except Crash:
            continue
    assert lives > 3
    bench.start()
    await bench.later()
    bench.assert_exact()


async def test_a_restart_goes_on_where_the_climb_was() -> None:
    bench = Bench(events=2500)
    bench.api.seconds = 0.4
    bench.topics.crash(12, "after")
    with pytest.raises(Crash):
        await bench.catch_up()
    published = len(bench.topics.events())
    assert published > 1000
    bench.start()
    bench.api.asked.clear()
    await bench.catch_up()
    bench.assert_exact()
    deep = [page for page, _ in bench.api.feed_requests() if page > 1]
    assert len(deep) < 2 * (2500 - published) / 40 + 10


@pytest.mark.parametrize("stage", ["before", "after"])
async def test_a_crash_in_the_steady_state_loses_and_doubles_nothing(stage: str) -> None:
    bench = Bench(events=100, past=600)
    await bench.catch_up()
    for ago in (0, 0, 200, 0, 50):
        bench.api.insert(5, ago=ago)
        bench.topics.crash(1, stage)
        with pytest.raises(Crash):
            await bench.later(100)
        bench.start()
        await bench.later(1)
        bench.assert_exact()


async def test_a_lost_transaction_leaves_the_checkpoint_as_it_was() -> None:
    bench = Bench(events=100)

    async def lose(at: str, _: object) -> None:
        raise TransactionLost("nobody knows")

    before = bench.poller.checkpoint.position
    bench.topics.kafka.hook = lose
    with pytest.raises(TransactionLost):
        await bench.turn()
    assert bench.poller.checkpoint.position == before == Position()
    assert bench.poller.checkpoint.seen == {}


async def test_an_interrupted_climb_keeps_what_it_has() -> None:
    bench = Bench(events=1500)
    steps = 0

    def stop_after_twelve(request: httpx.Request) -> None:
        nonlocal steps
        steps += 1
        bench.going_on = steps != 12

    bench.api.script = stop_after_twelve
    assert await bench.turn()
    assert bench.topics.commits == 1
    assert bench.poller.checkpoint.position.climb is not None
    await bench.catch_up()
    bench.assert_exact()


async def test_a_climb_that_gives_up_publishes_in_order() -> None:
    """The whole list, read instead, may show what is older than what the climb holds."""
    bench = Bench(events=600)
    oldest = bench.api.events()[0]

    def lose_order(_: httpx.Request) -> None:
        if len(bench.api.asked) == 12:
            bench.api.insert(1, run_id=oldest["run_id"], ago=7190)
            bench.api.simulator.control("behaviour", {"order": "created"})

    bench.api.script = lose_order
    await bench.turn()
    bench.assert_exact()
    times = [event["timestamp"] for event in bench.topics.events()]
    assert times == sorted(times)


async def test_a_very_long_run_of_ties_is_published_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transaction, "BATCH_ITEMS", 100)
    monkeypatch.setattr(long_pass, "GROUP_ITEMS", 50)
    bench = Bench(events=200)
    bench.api.insert(700, tie=True, runs=5, ago=100)
    bench.clock.pass_by(1)
    await bench.catch_up()
    bench.assert_exact()
    sizes = [sweep["published"] for sweep in bench.topics.certificates()]
    assert max(sizes) == 100
