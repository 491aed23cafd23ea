"""The simulated world lives by itself, the same way every time."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from simulator_calls import START, Calls

from bridge.clock import SECOND
from bridge.dev.api.answers import instant

TYPES = {
    "status_change",
    "step_started",
    "step_completed",
    "step_failed",
    "tool_call",
    "tool_result",
    "message",
    "error",
    "custom",
}


def facts(calls: Calls) -> list[tuple[str, str, str]]:
    return [
        (event["run_id"], event["event_id"], event["timestamp"])
        for event in calls.simulator.ledger()["events"]
    ]


def test_exactly_so_many_past_events_are_spread_over_the_past() -> None:
    calls = Calls(events=3_000)
    feed = calls.feed()
    assert len(feed) == 3_000
    assert {event["type"] for event in feed} == TYPES
    assert feed[0]["timestamp"] <= instant(START)
    assert feed[-1]["timestamp"] >= instant(START - 7200 * SECOND)
    assert instant(START - 7100 * SECOND) > feed[-1]["timestamp"]
    runs = calls.get("/runs", size=1000)["data"]
    assert {event["run_id"] for event in feed} <= {run["run_id"] for run in runs}
    assert len(runs) > 50


def test_the_same_seed_makes_the_same_world_and_another_seed_another() -> None:
    def world(seed: int) -> list[tuple[str, str, str]]:
        calls = Calls(events=200, rate=5, seed=seed)
        calls.clock.pass_by(60)
        return facts(calls)

    assert world(7) == world(7)
    assert not set(world(7)) & set(world(8))


def test_life_does_not_depend_on_when_it_is_looked_at() -> None:
    once, often = Calls(rate=20), Calls(rate=20)
    once.clock.pass_by(30)
    for _ in range(100):
        often.clock.pass_by(0.3)
        often.get("/events")
        often.a_mission()
    assert facts(once) == facts(often)
    assert len(facts(once)) > 400


def test_the_same_requests_get_the_same_answers() -> None:
    def answers() -> list[bytes]:
        calls = Calls(events=50, rate=5)
        calls.control("faults", {"kind": "status", "status": 500, "probability": 0.3})
        calls.control("faults", {"kind": "drift", "insert": 3, "delete": 1, "every": 2})
        found = []
        for _ in range(10):
            calls.clock.pass_by(1)
            found.append(calls.ask("POST", "", {"name": "m"}).body)
            found.append(calls.ask("GET", "/events").body)
        return found

    assert answers() == answers()


def test_events_become_visible_when_they_happen() -> None:
    calls = Calls(rate=10)
    calls.clock.pass_by(10)
    calls.get("/events", size=1000)
    for event in calls.simulator.ledger()["events"]:
        assert event["visible_at"] == event["timestamp"]
        assert event["shown_at"] == instant(calls.clock.at)


def test_runs_start_work_through_their_plans_and_end() -> None:
    calls = Calls(rate=50)
    calls.clock.pass_by(60)
    seen = Counter(run["status"] for run in calls.get("/runs", size=1000)["data"])
    assert seen["succeeded"] > 10
    assert 1 <= seen["running"] + seen["pending"] <= 8
    ended = calls.get("/runs", size=1000, status="succeeded")["data"][-1]
    path = f"/{ended['mission_id']}/runs/{ended['run_id']}"
    plan = calls.get(f"{path}/plan")["data"]
    assert all(step["completed_at"] for step in plan)
    assert len(calls.get(f"{path}/events", size=1000)["data"]) == ended["result_payload"]["events"]


def started(calls: Calls) -> tuple[str, dict[str, Any]]:
    path = calls.a_run()
    data: dict[str, Any] = calls.get(path)["data"]
    return path, data


def test_a_started_run_is_picked_up_after_a_moment_and_can_be_steered() -> None:
    calls = Calls(rate=10)
    path, run = started(calls)
    assert run["status"] == "pending"
    calls.clock.pass_by(1)
    assert calls.get(path)["data"]["status"] == "running"
    calls.send("POST", f"{path}/pause")
    before = calls.get(f"{path}/events")["meta"]["total_results"]
    calls.clock.pass_by(60)
    assert calls.get(f"{path}/events")["meta"]["total_results"] == before
    assert calls.get(path)["data"]["status"] == "paused"
    calls.send("POST", f"{path}/resume")
    calls.clock.pass_by(60)
    assert calls.get(f"{path}/events")["meta"]["total_results"] > before
    assert calls.send("POST", f"{path}/cancel")["status"] == "cancelled"


def test_many_started_runs_do_not_keep_the_world_from_its_own() -> None:
    calls = Calls(rate=50)
    mission = calls.a_mission()
    for _ in range(20):
        calls.a_run(mission)
    calls.clock.pass_by(60)
    own = [run for run in calls.get("/runs", size=1000)["data"] if run["mission_id"] != mission[1:]]
    assert len(own) > 8


def test_without_life_a_started_run_waits_unless_autorun_is_on() -> None:
    path, run = started(Calls())
    assert run["status"] == "pending"
    calls = Calls(autorun=True)
    assert calls.send("POST", f"{calls.a_mission()}/runs")["status"] == "pending"
    path, run = started(calls)
    assert run["status"] == "running"
    assert calls.ask("POST", f"{path}/pause").status == 200


def test_a_run_cancelled_before_it_was_picked_up_stays_cancelled() -> None:
    calls = Calls(rate=1)
    path = calls.a_run()
    calls.send("POST", f"{path}/cancel")
    calls.clock.pass_by(5)
    assert calls.get(path)["data"]["status"] == "cancelled"


def test_life_can_be_stopped_and_started_again() -> None:
    calls = Calls(rate=20)
    calls.clock.pass_by(5)
    calls.control("behaviour", {"rate": 0})
    count = len(facts(calls))
    assert count > 0
    calls.clock.pass_by(60)
    assert len(facts(calls)) == count
    calls.control("behaviour", {"rate": 20})
    calls.clock.pass_by(5)
    assert count < len(facts(calls)) < count + 300


def test_deletions_do_not_stop_life() -> None:
    calls = Calls(rate=20)
    for _ in range(5):
        calls.clock.pass_by(5)
        calls.control("delete-missions", {"count": 100})
        assert calls.feed() == []
    calls.clock.pass_by(5)
    assert calls.feed()


def test_a_clock_that_steps_back_does_not_turn_time_round() -> None:
    calls = Calls(rate=20)
    calls.clock.pass_by(10)
    before = facts(calls)
    calls.clock.pass_by(-60)
    assert facts(calls) == before
    assert calls.a_mission()
    calls.clock.pass_by(70)
    assert len(facts(calls)) > len(before)


def test_control_creates_events_in_given_and_new_runs() -> None:
    calls = Calls()
    run = calls.a_run()
    run_id = run.rpartition("/")[2]
    made = calls.control("events", {"count": 3, "run_id": run_id})["events"]
    assert [event["event_id"] for event in calls.feed()] == [
        event["event_id"] for event in reversed(made)
    ]
    spread = calls.control("events", {"count": 6, "runs": 3, "ago": 3600})["events"]
    assert Counter(Counter(event["run_id"] for event in spread).values()) == {2: 3}
    assert [event["event_id"] for event in calls.feed()[3:]] == [
        event["event_id"] for event in reversed(spread)
    ]
    tied = calls.control("events", {"count": 50, "tie": True})["events"]
    assert len({event["timestamp"] for event in tied}) == 1
    future = calls.control("events", {"ago": -86400})["events"][0]
    assert calls.feed()[0]["event_id"] == future["event_id"]


def test_control_can_put_anything_into_the_feed() -> None:
    calls = Calls()
    known = calls.control("events", {})["events"][0]["event_id"]
    calls.control("events", {"fields": {"event_id": known, "summary": "changed"}})
    calls.control("events", {"fields": {"timestamp": "yesterday", "colour": "red"}})
    calls.control("events", {"payload_text": '{"n": ' + "9" * 5_000 + "}"})
    calls.control("events", {"item_text": '"no event"'})
    body = calls.ask("GET", "/events").body
    assert b'{"n": ' + b"9" * 5_000 + b"}" in body
    items = json.loads(body, parse_int=str)["data"]
    assert items[0] == "no event"
    assert (items[2]["timestamp"], items[2]["colour"]) == ("yesterday", "red")
    assert [items[3]["event_id"], items[4]["event_id"]] == [known, known]
