"""What a source makes of an API that lists otherwise, answers badly, or shows what is no event."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stamina
from source_bench import Bench

from bridge.clock import SECOND
from bridge.errors import AccessError, ApiError


async def test_vanished_missions_do_not_disturb_the_others() -> None:
    bench = Bench(events=600, past=600)
    bench.api.simulator.control("faults", {"kind": "drift", "insert": 2, "delete": 1, "every": 5})
    for _ in range(4):
        await bench.later(100)
    bench.api.simulator.control("reset-faults", {})
    await bench.later(100)
    bench.assert_exact()


@pytest.mark.parametrize("order", ["oldest", "created"])
async def test_a_feed_in_another_order_is_published_all_the_same(order: str) -> None:
    behaviour = {"order": order, "late_probability": 0.2, "late_seconds": 300, "rate": 0.2}
    bench = Bench(events=1500, past=3000, behaviour=behaviour)
    for _ in range(4):
        await bench.later(100)
    bench.api.simulator.control("behaviour", {"rate": 0})
    await bench.later(100)
    published = [event["event_id"] for event in bench.topics.events()]
    assert len(published) == len(set(published))
    assert set(published) == {event["event_id"] for event in bench.api.events()}
    nothing_is_proven = bench.poller.checkpoint.position.frontier is None
    assert nothing_is_proven == (order == "created")


# Pages


@pytest.mark.parametrize("size", [60, 7, 1])
async def test_a_server_with_smaller_pages_gets_what_it_wants(size: int) -> None:
    bench = Bench(events=150, behaviour={"max_page_size": size}, page_size=1000)
    await bench.catch_up()
    bench.assert_exact()
    assert [asked for _, asked in bench.api.feed_requests() if asked > size] == [1000]


async def test_pages_that_become_smaller_in_a_climb_are_still_of_any_size() -> None:
    bench = Bench(events=1500, page_size=100)

    def look(_: httpx.Request) -> None:
        if len(bench.api.asked) == 20:
            bench.api.simulator.control("behaviour", {"max_page_size": 40})

    bench.api.script = look
    await bench.catch_up()
    bench.assert_exact()
    assert bench.api.feed_requests()[19][1] < 100, (
        "the first smaller answer is to a smaller request"
    )
    assert {size for _, size in bench.api.feed_requests()[20:] if size < 40}


async def test_a_hole_longer_than_a_page_is_crossed() -> None:
    """The server filters deleted rows after it counted them: pages of nothing in the middle."""
    bench = Bench(events=400, past=3000, behaviour={"filter_after_limit": True}, lateness=2000)
    (doomed, *_) = bench.api.insert(300, runs=3)
    bench.clock.pass_by(10)
    bench.api.insert(600, runs=20)
    mission = next(e for e in bench.api.events() if e["event_id"] == doomed["event_id"])
    bench.api.simulator.control("delete-missions", {"mission_ids": [mission["mission_id"]]})
    await bench.later(100)
    assert bench.poller.checkpoint.position.frontier is not None
    for _ in range(4):
        bench.api.insert(20)
        await bench.later(250)
    frontier = bench.poller.checkpoint.position.frontier
    assert frontier is not None
    assert frontier > bench.clock.now() - 300 * SECOND, "sweeps get across it"
    assert bench.topics.audits("gap") == [], "and do not take it for the end"
    bench.assert_exact()


# Trouble with the API


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(503), ApiError),
        (httpx.Response(401), AccessError),
        (httpx.Response(200, content=b"<html>"), ApiError),
        (httpx.ReadTimeout("nothing came"), ApiError),
    ],
)
async def test_an_answer_of_no_use_ends_the_turn_and_nothing_else(
    answer: httpx.Response | Exception, error: type[Exception]
) -> None:
    bench = Bench(events=300)
    asked = 0

    def fail_the_third(request: httpx.Request) -> httpx.Response | Exception | None:
        nonlocal asked
        asked += 1
        return answer if asked == 3 else None

    bench.api.script = fail_the_third
    with stamina.set_testing(True, attempts=1), pytest.raises(error):
        await bench.turn()
    await bench.catch_up()
    bench.assert_exact()


async def test_events_are_not_held_back_for_their_missions() -> None:
    bench = Bench(events=100)

    def no_runs(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(503) if request.url.path.endswith("/runs") else None

    bench.api.script = no_runs
    with stamina.set_testing(True, attempts=1):
        await bench.catch_up()
    bench.assert_exact()
    assert {event["mission_id"] for event in bench.topics.events()} == {None}
    bench.api.script = None
    (new,) = bench.api.insert(1)
    await bench.catch_up()
    assert bench.topics.events()[-1]["event_id"] == new["event_id"]
    assert bench.topics.events()[-1]["mission_id"] is not None


MALFORMED: dict[str, dict[str, Any]] = {
    "broken JSON": {"item_text": '{"event_id": }'},
    "no type": {"fields": {"type": None}},
    "no time": {"fields": {"timestamp": "soon"}},
    "a number": {"item_text": "7"},
}


@pytest.mark.parametrize("kind", MALFORMED)
async def test_what_is_no_event_is_a_dead_letter_once(kind: str) -> None:
    bench = Bench(events=120, past=600)
    await bench.catch_up()
    events = len(bench.topics.events())
    bench.api.insert(1)
    bench.api.insert(1, **MALFORMED[kind])
    bench.api.insert(1)
    for _ in range(3):
        await bench.later(100)
        bench.start()
    assert len(bench.topics.letters()) == 1
    assert len(bench.topics.events()) == events + 2


@pytest.mark.parametrize("start", ["earliest", "latest"])
async def test_a_feed_of_one_thing_that_is_no_event_is_no_trouble(start: str) -> None:
    bench = Bench(start=start)
    if start == "latest":
        await bench.catch_up()
    bench.api.insert(1, item_text="7")
    await bench.later(1)
    await bench.later(100)
    assert len(bench.topics.letters()) == 1


async def test_a_whole_page_without_a_time_is_told_and_not_skipped() -> None:
    """An API that changed its events is not drained into the dead letters, nor passed over."""
    bench = Bench(events=120, past=600)
    await bench.catch_up()
    commits = bench.topics.commits
    bench.api.insert(60, fields={"timestamp": 1773057600})
    bench.clock.pass_by(1)
    with pytest.raises(ApiError, match="timestamp that can be read"):
        await bench.turn()
    assert bench.topics.commits == commits


async def test_a_row_without_a_time_on_a_page_of_its_own_is_a_dead_letter_once() -> None:
    """All around it was deleted: no page shows it with a neighbour that has a time."""
    bench = Bench(behaviour={"filter_after_limit": True}, page_size=50)
    bench.api.insert(1, item_text='{"no": "event"}', ago=600)
    (doomed, *_) = bench.api.insert(150, runs=1)
    bench.clock.pass_by(10)
    bench.api.insert(300, runs=20)
    mission = next(e for e in bench.api.events() if e["event_id"] == doomed["event_id"])
    bench.api.simulator.control("delete-missions", {"mission_ids": [mission["mission_id"]]})
    for _ in range(3):
        await bench.later(100)
        bench.start()
    assert len(bench.topics.letters()) == 1


async def test_a_row_without_a_time_is_a_dead_letter_once_whatever_comes_beside_it() -> None:
    """It takes the time of its neighbour, and that is a new one after a long silence."""
    bench = Bench(events=60, past=600, lateness=100, lateness_max=300)
    bench.api.insert(1, fields={"timestamp": "soon"})
    await bench.later(1)
    for _ in range(3):
        bench.clock.pass_by(1000)
        bench.api.insert(1)
        await bench.later(100)
    assert len(bench.topics.letters()) == 1
