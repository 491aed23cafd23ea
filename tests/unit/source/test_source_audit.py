"""What the feed does not show is found in the runs' own lists, and finished runs are sealed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
import stamina
from source_bench import Bench

from bridge.clock import SECOND
from bridge.source.checkpoint.runs import fold
from bridge.source.identity import digest

DAY = 86_400.0


def events_of(bench: Bench, run_id: str) -> list[dict[str, Any]]:
    return [event for event in bench.topics.events() if event["run_id"] == run_id]


def end(bench: Bench, run_id: str, status: str = "succeeded") -> None:
    """Let a run end now."""
    run = bench.api.simulator.world.runs[run_id]
    bench.api.simulator.world.set_status(run, status, bench.clock.now())


async def for_hours(bench: Bench, hours: float, step: float = 600.0) -> None:
    for _ in range(round(hours * 3600 / step)):
        await bench.later(step)


# Late events


async def test_an_event_later_than_the_window_is_found_and_marked_late() -> None:
    bench = Bench(events=200, past=3000, lateness=100, lateness_max=1000, audit_interval=300)
    (first,) = bench.api.insert(1)
    await bench.later(200)
    bench.api.insert(1, ago=2500, run_id=first["run_id"])
    await bench.later(50)
    assert len(events_of(bench, first["run_id"])) == 1, "no sweep reads so far back"
    await bench.later(300)
    assert [event["late"] for event in events_of(bench, first["run_id"])] == [False, True]
    bench.assert_exact()


async def test_a_late_event_widens_the_window_up_to_its_cap_for_a_day() -> None:
    bench = Bench(events=200, past=3000, lateness=300, lateness_max=900, audit_interval=1e6)
    await bench.later(400)
    bench.api.insert(1)
    await bench.later(40)
    assert bench.poller.lateness == 300 * SECOND
    bench.api.insert(1, ago=280)
    await bench.later(100)
    measured = bench.poller.checkpoint.position.worst_late
    assert measured is not None
    assert bench.poller.lateness == min(900 * SECOND, 2 * measured.by) > 300 * SECOND
    assert bench.start().lateness == min(900 * SECOND, 2 * measured.by), "kept over a restart"
    bench.api.insert(1)
    await bench.later(DAY + 1000)
    bench.api.insert(1)
    await bench.later(100)
    assert bench.poller.lateness == 300 * SECOND


async def test_what_an_audit_finds_widens_the_window_as_well() -> None:
    bench = Bench(events=50, past=600, lateness=100, lateness_max=1500, audit_interval=300)
    (first,) = bench.api.insert(1)
    await bench.later(20)
    bench.api.insert(1)
    await bench.later(20)
    bench.api.insert(1, ago=600, run_id=first["run_id"])
    await bench.later(400)
    measured = bench.poller.checkpoint.position.worst_late
    assert measured is not None
    assert 500 * SECOND < measured.by < 600 * SECOND
    assert bench.poller.lateness == 2 * measured.by
    bench.assert_exact()


async def test_an_outage_makes_no_event_late() -> None:
    bench = Bench(events=200, past=3000, lateness=300, lateness_max=9000, audit_interval=1e6)
    await bench.later(100)
    for _ in range(20):
        bench.api.insert(2)
        bench.clock.pass_by(100)
    await bench.later(10)
    assert bench.poller.lateness == 300 * SECOND
    bench.assert_exact()


# A feed that lost events


async def test_what_fell_off_the_feed_is_found_in_the_runs() -> None:
    bench = Bench(events=100, past=600, behaviour={"newest_only": 150}, audit_interval=300)
    await bench.later(100)
    bench.api.insert(500, runs=7)
    bench.clock.pass_by(1000)
    bench.api.insert(1)
    await bench.later(10)
    await bench.later(400)
    bench.assert_exact()
    (gap,) = bench.topics.audits("gap")
    first, closed = (record["gap"] for record in bench.topics.audits("gap_closed"))
    assert (first["low"], first["found"]) == (0, 0), "the first sweep cannot know what fell off"
    assert gap["complete_until"] < gap["gap"]["low"] < gap["gap"]["high"]
    assert closed["found"] >= 300
    assert closed["runs"] >= 7
    assert closed["unread"] == 0
    assert bench.poller.checkpoint.position.hole is None


async def test_a_hole_stays_open_over_a_restart_until_all_runs_are_read() -> None:
    bench = Bench(events=100, past=600, behaviour={"newest_only": 150}, audit_interval=300)
    await bench.later(100)
    bench.api.insert(500, runs=7)
    bench.clock.pass_by(1000)
    bench.api.script = lambda request: (
        httpx.Response(500)
        if request.url.path.endswith("/events") and "runs" in request.url.path
        else None
    )
    with stamina.set_testing(True, attempts=1):
        for _ in range(4):
            await bench.turn()
            bench.clock.pass_by(2)
        hole = bench.poller.checkpoint.position.hole
        assert hole is not None
        until = bench.poller.checkpoint.position.complete_until(bench.poller.lateness)
        assert until is not None
        assert until < hole.low, "nothing is claimed above it"
        assert bench.start().checkpoint.position.hole == hole
    bench.api.script = None
    await bench.later(400)
    assert bench.topics.state().position.hole is None
    bench.assert_exact()


async def test_a_young_feed_has_no_gaps() -> None:
    bench = Bench(events=20, past=60, audit_interval=300)
    await bench.catch_up()
    for _ in range(12):
        bench.api.insert(1)
        await bench.later(50)
    assert bench.topics.audits("gap") == [], "the feed ends where it ended before"


async def test_a_run_whose_list_cannot_be_read_holds_nothing_up() -> None:
    bench = Bench(events=100, past=600, audit_interval=100)
    (one,) = bench.api.insert(1)
    await bench.later(10)
    bench.api.script = lambda request: (
        httpx.Response(500) if one["run_id"] in request.url.path else None
    )
    with stamina.set_testing(True, attempts=1):
        for _ in range(5):
            bench.api.insert(3)
            await bench.later(100)
    bench.assert_exact()


# Sealed runs


async def test_a_finished_run_is_sealed_once_two_listings_agree() -> None:
    bench = Bench(lateness=900, lateness_max=2000, audit_interval=600)
    shown = bench.api.insert(5)
    run_id = shown[0]["run_id"]
    await bench.later(60)
    end(bench, run_id)
    await for_hours(bench, 0.25)
    assert bench.topics.audits("sealed") == [], "one listing proves nothing"
    await for_hours(bench, 1)
    (record,) = bench.topics.audits("sealed")
    seal = record["run"]
    digests = [digest(run_id, event["event_id"]) for event in shown]
    assert seal["run_id"] == run_id
    assert (seal["count"], seal["status"]) == (5, "succeeded")
    assert seal["digest"] == f"{fold(digests):032x}"
    times = [event["timestamp"] for event in events_of(bench, run_id)]
    assert (seal["first"], seal["last"], seal["since"]) == (min(times), max(times), None)


async def test_a_run_without_events_is_sealed_as_well() -> None:
    bench = Bench(events=30, audit_interval=600)
    await bench.later(1)
    world = bench.api.simulator.world
    mission = next(iter(world.missions.values()))
    run = world.start_run(mission, "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11", {}, bench.clock.now())
    world.set_status(run, "cancelled", bench.clock.now())
    await for_hours(bench, 2)
    seals = {record["run"]["run_id"]: record["run"] for record in bench.topics.audits("sealed")}
    assert (seals[run.run_id]["count"], seals[run.run_id]["first"]) == (0, None)


async def test_every_finished_run_is_sealed_and_then_closed() -> None:
    bench = Bench(events=1500, past=40_000, audit_interval=600, lateness=300, lateness_max=900)
    await for_hours(bench, 2)
    world = bench.api.simulator.world
    ended = {run.run_id for run in world.runs.values() if run.row["finished_at"]}
    assert {record["run"]["run_id"] for record in bench.topics.audits("sealed")} == ended
    counts = {run.run_id: len(run.events) for run in world.runs.values()}
    for record in bench.topics.audits("sealed"):
        assert record["run"]["count"] == counts[record["run"]["run_id"]]
    bench.api.insert(1)
    await for_hours(bench, 26)
    bench.api.insert(1)
    await for_hours(bench, 2)
    open_runs = set(bench.poller.checkpoint.runs)
    assert not open_runs & ended, "nothing more is expected of them, so they are forgotten"
    assert bench.topics.state() == bench.poller.checkpoint
    bench.assert_exact()


async def test_an_event_after_the_seal_takes_it_back_and_it_is_sealed_again() -> None:
    bench = Bench(lateness=900, lateness_max=2000, audit_interval=600)
    (event, *_) = bench.api.insert(5)
    await bench.later(60)
    end(bench, event["run_id"])
    await for_hours(bench, 1)
    bench.api.insert(1, run_id=event["run_id"])
    await for_hours(bench, 2)
    told = [one["kind"] for one in bench.topics.audits() if one["run"]]
    assert told == ["sealed", "unsealed", "sealed"]
    assert bench.topics.audits("sealed")[-1]["run"]["count"] == 6


async def test_a_seal_survives_restarts() -> None:
    bench = Bench(lateness=900, lateness_max=2000, audit_interval=600)
    (event, *_) = bench.api.insert(5)
    await bench.later(60)
    end(bench, event["run_id"])
    for _ in range(12):
        bench.start()
        await bench.later(600)
    assert len(bench.topics.audits("sealed")) == 1


async def test_runs_of_a_deleted_mission_are_given_up() -> None:
    bench = Bench(events=100, past=600, audit_interval=300)
    await bench.later(10)
    world = bench.api.simulator.world
    gone = [*world.missions]
    bench.api.simulator.control("delete-missions", {"mission_ids": gone})
    await bench.later(400)
    assert {one.stage for one in bench.poller.checkpoint.runs.values()} == {"gone"}
    await for_hours(bench, 36, step=3600)
    assert {one.stage for one in bench.poller.checkpoint.runs.values()} == {"closed"}
    bench.api.asked.clear()
    await bench.later(400)
    assert not [
        path for path, *_ in bench.api.asked if path.endswith("/events") and "/runs/" in path
    ]


# What expired


async def forgetful(**settings: Any) -> tuple[Bench, str]:
    """Return a bench that has forgotten the digests of a live run's first events."""
    given = {"lateness": 100, "lateness_max": 300, "audit_interval": 600, **settings}
    bench = Bench(events=30, past=100, **given)
    (event, *_) = bench.api.insert(20)
    await bench.catch_up()
    for _ in range(6):
        bench.api.insert(1, run_id=event["run_id"])
        await bench.later(200)
    state = bench.poller.checkpoint
    assert digest(event["run_id"], event["event_id"]) not in state.seen
    return bench, event["run_id"]


async def test_expired_events_of_a_live_run_are_known_by_their_sum() -> None:
    bench, run_id = await forgetful()
    await bench.later(700)
    bench.assert_exact()
    assert bench.topics.asked_for == [], "count and XOR tell that all of it is published"
    assert len(events_of(bench, run_id)) == 26


async def test_a_lost_event_among_expired_ones_is_told_apart_by_the_topic() -> None:
    bench, run_id = await forgetful()
    bench.api.insert(1, run_id=run_id, ago=1000)
    await bench.later(700)
    bench.assert_exact()
    assert bench.topics.asked_for == [run_id]
    await bench.later(700)
    assert bench.topics.asked_for == [run_id], "once is enough"


async def test_what_cannot_be_proved_is_said_and_not_published() -> None:
    bench, run_id = await forgetful()

    async def cut_off(_run: str, _since: int) -> None:
        return None

    bench.topics.of_run = cut_off  # type: ignore[method-assign, assignment]
    bench.start()
    bench.api.insert(1, run_id=run_id, ago=1000)
    await bench.later(700)
    assert len(events_of(bench, run_id)) == 26
    assert len(bench.topics.audits("gap")) == 1
    await bench.later(700)
    assert len(bench.topics.audits("gap")) == 1


@pytest.mark.parametrize("start", ["latest", "2026-03-09T11:59:10Z"])
async def test_audits_leave_out_what_is_older_than_the_start(start: Any) -> None:
    bench = Bench(events=300, past=100, start=start, audit_interval=100)
    before = {event["event_id"] for event in bench.api.events()}
    await bench.later(150)
    early = {e["event_id"] for e in bench.topics.events()} & before
    for run_id in list(bench.api.simulator.world.runs):
        bench.api.insert(1, run_id=run_id)
    for _ in range(30):
        await bench.later(100)
    assert {e["event_id"] for e in bench.topics.events()} & before == early
    assert (len(early) == 0) == (start == "latest")
    sinces = {record["run"]["since"] for record in bench.topics.audits("sealed")}
    assert sinces == {bench.poller.checkpoint.position.audit_floor} != {None}


# Changed events


async def test_an_event_that_changes_is_told_once_and_not_published_again() -> None:
    bench = Bench(events=50, past=600, audit_interval=300)
    (event,) = bench.api.insert(1)
    await bench.later(100)
    shown = next(e for e in bench.api.simulator.world.history if e.event_id == event["event_id"])
    shown.body = shown.body.replace(b"Inserted", b"Altered")
    for _ in range(4):
        await bench.later(100)
    (told,) = bench.topics.audits("mutated")
    assert told["event"] == {"run_id": event["run_id"], "event_id": event["event_id"]}
    assert [e["summary"] for e in events_of(bench, event["run_id"])] == ["Inserted 1 of 1"]


async def test_a_long_list_is_read_once_and_polls_go_on_meanwhile() -> None:
    """What a poll publishes of the very run that is read is no reason to read all of it again."""
    bench = Bench(page_size=50, lateness=30, audit_interval=600)
    run = bench.api.insert(1)[0]["run_id"]
    bench.api.insert(1499, run_id=run)
    await bench.later(1)
    bench.api.seconds = 0.2
    bench.clock.pass_by(700)

    def grow(request: httpx.Request) -> None:
        if request.url.path.endswith(f"/runs/{run}/events"):
            bench.api.insert(1, run_id=run)

    bench.api.script = grow
    before = len(bench.api.asked)
    await bench.turn()
    paths = [path for path, _, _ in bench.api.asked[before:]]
    own = [at for at, path in enumerate(paths) if path.endswith(f"/runs/{run}/events")]
    polls = [at for at, path in enumerate(paths) if path == "/events"]
    assert len(own) < 50, "read once"
    assert max(b - a for a, b in pairwise(polls)) < 20, "polled every two seconds"
    bench.api.script = None
    await bench.later(1)
    bench.assert_exact()
