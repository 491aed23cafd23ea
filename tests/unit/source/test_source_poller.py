"""Turns of a source: what is read, what is committed, and when."""

from __future__ import annotations

import httpx
import pytest
from source_bench import Bench

# A first start


async def test_everything_there_is_comes_out_oldest_first() -> None:
    bench = Bench(events=300)
    await bench.catch_up()
    bench.assert_exact()
    times = [event["timestamp"] for event in bench.topics.events()]
    assert times == sorted(times)
    missions = {event["event_id"]: event["mission_id"] for event in bench.api.events()}
    assert all(one["mission_id"] == missions[one["event_id"]] for one in bench.topics.events())


async def test_a_long_past_is_climbed_in_several_transactions() -> None:
    bench = Bench(events=2500)
    bench.api.seconds = 0.6
    await bench.catch_up()
    bench.assert_exact()
    assert bench.topics.commits > 5
    lows = [event["timestamp"] for event in bench.topics.events()]
    assert lows == sorted(lows)
    assert bench.poller.checkpoint.position.climb is None


async def test_an_empty_feed_is_no_trouble() -> None:
    bench = Bench()
    await bench.catch_up()
    assert bench.topics.events() == []
    await bench.later()
    bench.api.insert(3)
    await bench.catch_up()
    bench.assert_exact()


@pytest.mark.parametrize("count", [0, 20, 2500])
async def test_latest_publishes_only_what_comes_from_now_on(count: int) -> None:
    bench = Bench(events=count, start="latest")
    before = [event["event_id"] for event in bench.api.events()]
    await bench.catch_up()
    assert bench.topics.events() == []
    for ago in (0, 200, 800):  # later, late, and almost too late
        bench.api.insert(2, ago=ago)
        await bench.later()
    assert len(bench.topics.events()) == 6
    bench.assert_exact(without=before)


async def test_latest_on_a_feed_that_is_dated_ahead_is_still_latest() -> None:
    """A server whose Date is behind its own events does not make them new."""
    bench = Bench(start="latest", behaviour={"date_offset": -3600})
    bench.api.insert(120)
    bench.clock.pass_by(1)
    before = [event["event_id"] for event in bench.api.events()]
    await bench.catch_up()
    bench.api.insert(4)
    await bench.catch_up()
    bench.assert_exact(without=before)
    assert len(bench.topics.events()) == 4


async def test_latest_of_a_feed_without_order_is_still_latest() -> None:
    bench = Bench(events=500, start="latest", behaviour={"order": "oldest"})
    before = [event["event_id"] for event in bench.api.events()]
    await bench.catch_up()
    assert 0 < len(bench.poller.checkpoint.seen) < 150, "those of the lateness window"
    bench.api.insert(4)
    await bench.later()
    bench.assert_exact(without=before)
    assert len(bench.topics.events()) == 4


async def test_a_start_at_a_time_publishes_what_happened_since() -> None:
    bench = Bench(events=2500, start="2026-03-09T11:00:00Z")
    older = [
        event["event_id"]
        for event in bench.api.events()
        if event["timestamp"] < "2026-03-09T11:00:00"
    ]
    await bench.catch_up()
    assert 0 < len(older) < 2500
    assert not {event["event_id"] for event in bench.topics.events()} & set(older)
    bench.assert_exact(without=older)
    bench.start()
    await bench.later()
    bench.assert_exact(without=older)


# The steady state


async def test_nothing_new_commits_nothing() -> None:
    bench = Bench(audit_interval=1e6)
    bench.api.insert(300, runs=5)
    await bench.catch_up()
    commits = bench.topics.commits
    for seconds in (1, 100, 1, 300, 1):
        await bench.later(seconds)
    assert bench.topics.commits == commits


async def test_a_poll_without_news_is_one_request() -> None:
    bench = Bench(events=2500, past=600)
    await bench.catch_up()
    bench.api.asked.clear()
    for _ in range(5):
        bench.clock.pass_by(2)
        await bench.catch_up()
    assert bench.api.feed_requests() == [(1, 50)] * 5


async def test_many_events_within_the_lateness_window_are_read_anew_only_when_it_is_due() -> None:
    """More than a forward pass reads at once is climbed, but not at every poll."""
    bench = Bench(events=1500, past=600, lateness=900)
    await bench.catch_up()
    await bench.later(80)
    few = len(bench.api.asked)
    await bench.later(95)
    assert len(bench.api.asked) - few > 20, "the deep sweep"
    few = len(bench.api.asked)
    await bench.later(80)
    assert len(bench.api.asked) - few == 1


async def test_late_events_are_found_and_marked() -> None:
    bench = Bench(events=300, past=600)
    await bench.catch_up()
    (first,) = bench.api.insert(1)
    await bench.later(2)
    bench.api.insert(1, run_id=first["run_id"], ago=500)
    bench.api.insert(1, ago=500)
    await bench.later(100)
    bench.assert_exact()
    assert sum(event["late"] for event in bench.topics.events()) == 1


async def test_the_frontier_never_moves_back() -> None:
    bench = Bench(events=300, past=600)
    frontiers: list[int] = []
    for step in range(12):
        if step == 4:
            bench.api.simulator.control("delete-missions", {"count": 3})
        if step == 7:
            bench.api.simulator.control("behaviour", {"date_offset": -400})
        if step % 3 == 0:
            bench.api.insert(2, ago=300 if step == 9 else 0)
        await bench.later(97)
        frontiers.append(bench.poller.checkpoint.position.frontier or 0)
        if step == 8:
            bench.start()
    assert frontiers == sorted(frontiers)
    assert frontiers[-1] > frontiers[0]
    bench.assert_exact()


async def test_an_event_dated_ahead_is_published_once_and_does_not_pull_the_frontier() -> None:
    bench = Bench(events=100, past=600, lateness_max=1000)
    bench.api.insert(1, ago=-5000)
    for _ in range(12):
        bench.api.insert(2)
        await bench.later(500)
        assert (bench.poller.checkpoint.position.frontier or 0) <= bench.clock.now()
        bench.start()
    bench.assert_exact()
    assert bench.poller.checkpoint.position.kept_from is not None, "segments expired meanwhile"


async def test_first_answers_with_a_date_ahead_do_not_pull_the_frontier() -> None:
    """A process that has seen no other answer cannot tell, but its own clock does."""
    bench = Bench(events=100, past=600)
    bench.api.insert(1, ago=-600)
    bench.api.simulator.control("behaviour", {"date_offset": 3600})
    await bench.catch_up()
    assert bench.poller.checkpoint.position.frontier is not None
    assert bench.poller.checkpoint.position.frontier <= bench.clock.now()
    bench.api.simulator.control("behaviour", {"date_offset": 0})
    bench.start()
    bench.api.insert(3, ago=5)
    await bench.later(95)
    bench.assert_exact()


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_set_back_loses_nothing(restarts: bool) -> None:  # noqa: FBT001
    """The server's clock goes back by an hour; what it stamps then lies far below the frontier."""
    bench = Bench(events=1500, past=3500)
    await bench.catch_up()
    bench.api.insert(1)
    await bench.later(5)
    bench.api.simulator.control("behaviour", {"date_offset": -3600})
    for _ in range(4):
        await bench.later(95)
        if restarts:
            bench.start()
            await bench.later(1)
            bench.api.insert(3, ago=3600)
        else:
            bench.api.insert(3, ago=3600 + 880)  # as late as an event may be
        await bench.later(2)
    await bench.later(95)
    bench.assert_exact()


@pytest.mark.parametrize("offset", [0, -3600], ids=["mended", "for ever"])
async def test_a_backlog_behind_a_clock_that_is_slow_is_published(offset: int) -> None:
    """The bound of the server's time lies far below the backlog: the climb must end higher."""
    bench = Bench(events=100, past=600, behaviour={"date_offset": -3600})
    await bench.later(5)
    bench.api.simulator.control("behaviour", {"date_offset": offset})
    bench.api.insert(1000)
    bench.clock.pass_by(10)
    await bench.catch_up()
    bench.assert_exact()
    turns = 0
    while await bench.turn():
        turns += 1
        assert turns < 20, "it climbs again and again"


async def test_climbs_that_find_nothing_new_do_not_follow_each_other() -> None:
    """The API's clock was an hour ahead and all lies below the stop; the frontier moves on."""
    bench = Bench(events=1500, past=300, lateness=100, lateness_max=400)
    bench.api.simulator.control("behaviour", {"date_offset": 3600})
    bench.api.insert(3, ago=-3600)
    bench.clock.pass_by(1)
    await bench.catch_up(20)
    bench.api.simulator.control("behaviour", {"date_offset": 0})
    bench.api.insert(2)
    bench.clock.pass_by(100)
    await bench.catch_up(20)
    bench.assert_exact()


async def test_what_is_remembered_is_bounded() -> None:
    bench = Bench(lateness=100, lateness_max=1000)
    for _ in range(60):
        bench.api.insert(10)
        await bench.later(100)
    bench.assert_exact()
    state = bench.topics.state()
    assert len(state.seen) <= 130
    assert len(state.segments) <= 13


# New events while an old backlog is climbed


async def test_new_events_do_not_wait_for_a_climb() -> None:
    bench = Bench(events=2500)
    bench.api.seconds = 0.4
    waits: list[int] = []
    expected: list[str] = []

    def arrive(request: httpx.Request) -> None:
        if request.url.path.endswith("/missions/events") and len(bench.api.asked) % 10 == 0:
            expected.extend(event["event_id"] for event in bench.api.insert(1))
        there = {event["event_id"] for event in bench.topics.events()}
        waits.append(sum(1 for one in expected if one not in there))

    bench.api.script = arrive
    await bench.turn()
    assert bench.poller.checkpoint.position.frontier is not None, "one turn was the whole climb"
    bench.api.script = None
    published = [event["event_id"] for event in bench.topics.events()]
    first_new = published.index(expected[0])
    assert first_new < len(published) / 2, "it was published in the middle of the climb"
    assert max(waits) <= 3
    await bench.later()
    bench.assert_exact()


async def test_an_event_that_is_older_than_a_published_one_of_its_run_is_late() -> None:
    """A run that is live while its past is climbed: its new events come first, the past is late."""
    bench = Bench(events=2000)
    (old,) = bench.api.insert(1, ago=100)
    bench.api.seconds = 0.4
    asked: list[int] = []

    def arrive(_: httpx.Request) -> None:
        asked.append(1)
        if len(asked) == 20:
            bench.api.insert(1, run_id=old["run_id"])

    bench.api.script = arrive
    await bench.catch_up()
    run = [event for event in bench.topics.events() if event["run_id"] == old["run_id"]]
    assert [event["late"] for event in run] == [False, True]
    assert run[1]["event_id"] == old["event_id"]
    bench.assert_exact()
