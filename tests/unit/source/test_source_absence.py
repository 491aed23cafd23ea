"""Runs that are not there: who says so, how often, and how it is taken back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from source_bench import Bench

from bridge.clock import SECOND
from bridge.source.audits import rules
from bridge.source.checkpoint.runs import Listing, RunSummary
from bridge.source.identity import short_run

DAY = 86_400.0
OWN = {"errors": [{"code": "10005", "title": "Resource not found"}]}


def events_of(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    return [event for event in bench.topics.events() if event["run_id"] == run_id]


def stage_of(bench: Bench, run_id: str) -> str:
    return bench.poller.checkpoint.runs[short_run(run_id)].stage


def absent(bench: Bench, run_id: str, answer: httpx.Response, *, until: float) -> None:
    """Answer everything about one run like this, up to a time."""

    def script(request: httpx.Request) -> httpx.Response | None:
        if f"/runs/{run_id}" not in request.url.path or bench.clock.time >= until:
            return None
        return httpx.Response(answer.status_code, content=answer.content)

    bench.api.script = script


async def late_event(answer: httpx.Response, seconds: float) -> tuple[Bench, str]:
    """Let an event appear that only the list of its run shows, while that is answered so."""
    bench = Bench(events=100, past=3000, lateness=100, lateness_max=1000, audit_interval=300)
    (first,) = bench.api.insert(1)
    run_id: str = first["run_id"]
    await bench.later(200)
    absent(bench, run_id, answer, until=bench.clock.time + seconds)
    bench.api.insert(1, ago=2500, run_id=run_id)
    return bench, run_id


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"message": "no route"}'])
@pytest.mark.parametrize("status", [404, 410])
async def test_a_foreign_404_never_marks_a_run_gone(status: int, body: bytes) -> None:
    bench, run_id = await late_event(httpx.Response(status, content=body), seconds=400)
    await bench.later(390)
    assert stage_of(bench, run_id) == "open"
    for _ in range(3):
        await bench.later(300)
    assert len(events_of(bench, run_id)) == 2
    bench.assert_exact()


async def test_a_run_that_the_api_does_not_find_for_a_while_is_taken_back() -> None:
    bench, run_id = await late_event(httpx.Response(404, json=OWN), seconds=400)
    await bench.later(390)
    assert stage_of(bench, run_id) == "gone"
    bench.start()
    for _ in range(4):
        await bench.later(300)
    assert stage_of(bench, run_id) == "open"
    assert len(events_of(bench, run_id)) == 2
    bench.assert_exact()


async def test_an_event_on_the_feed_takes_back_that_its_run_is_gone() -> None:
    bench, run_id = await late_event(httpx.Response(404, json=OWN), seconds=400)
    await bench.later(390)
    assert stage_of(bench, run_id) == "gone"
    bench.api.insert(1, run_id=run_id)
    await bench.later(10)
    assert stage_of(bench, run_id) == "open"
    assert not bench.topics.audits("unsealed"), "it never had a seal"


async def test_a_gap_stays_open_until_a_second_look_confirms_that_a_run_is_gone() -> None:
    bench = Bench(events=100, past=600, audit_interval=300, behaviour={"newest_only": 30})
    await bench.later(10)
    await bench.later(300)
    closed = len(bench.topics.audits("gap_closed"))
    (run_id, *_) = bench.api.simulator.world.runs
    absent(bench, run_id, httpx.Response(404, json=OWN), until=1e9)
    bench.api.insert(60)
    await bench.later(320)
    holes = [bench.poller.checkpoint.position.hole]
    assert len(bench.topics.audits("gap_closed")) == closed
    for _ in range(3):
        await bench.later(300)
        holes.append(bench.poller.checkpoint.position.hole)
    assert holes[0] is not None
    assert holes[-1] is None
    assert bench.topics.audits("gap_closed")[closed]["gap"]["unread"] == 1


def test_a_run_is_given_up_when_it_was_gone_for_a_day() -> None:
    first = rules.after_absence(RunSummary(count=3), 1_000)
    assert (first.stage, first.listed) == ("gone", Listing(0, 0, 1_000))
    day = round(DAY * SECOND)
    assert rules.after_absence(first, 1_000 + day - 1) == first
    assert rules.after_absence(first, 1_000 + day).stage == "closed"
    assert rules.there_again(first).stage == "open"


def test_a_run_that_is_gone_is_asked_about_less_and_less_often() -> None:
    gone = rules.after_absence(RunSummary(), 0)
    interval, at, looks = 600 * SECOND, 0, 0
    while at < round(DAY * SECOND):
        at = rules.due(gone, at, lateness=900 * SECOND, interval=interval)
        looks += 1
    assert looks == 9


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_list_runs_holds_no_event_back(status: int) -> None:
    bench = Bench(events=20, past=60, audit_interval=50)

    def script(request: httpx.Request) -> httpx.Response | None:
        path = request.url.path.partition("/missions")[2]
        return None if path == "/events" else httpx.Response(status, json=OWN)

    bench.api.script = script
    bench.api.insert(5)
    await bench.later(100)
    assert len(bench.topics.events()) == 25
