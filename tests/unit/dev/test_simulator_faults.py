"""Each fault strikes whom it should, does what it says, and is told in the ledger."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from simulator_calls import START, Calls

from bridge.clock import SECOND
from bridge.dev.api.answers import Ending, instant


def statuses(calls: Calls, path: str, times: int, method: str = "GET") -> list[int]:
    return [calls.ask(method, path).status for _ in range(times)]


def test_a_fault_strikes_the_named_operation_so_many_times() -> None:
    calls = Calls()
    mission = calls.a_mission()
    calls.control("faults", {"kind": "status", "status": 503, "operation": "start_run", "times": 3})
    assert statuses(calls, "/events", 2) == [200, 200]
    assert statuses(calls, f"{mission}/runs", 5, "POST") == [503, 503, 503, 201, 201]
    assert calls.control("faults")["faults"] == []
    ledger = calls.simulator.ledger()
    assert ledger["requests"]["start_run"] == {"503": 3, "201": 2}
    assert [effect["operation"] for effect in ledger["effects"]].count("start_run") == 2


def test_a_fault_strikes_groups_every_kth_and_with_a_probability() -> None:
    calls = Calls()
    calls.control("faults", [{"kind": "status", "status": 500, "operation": "reads", "every": 3}])
    assert statuses(calls, "", 6) == [200, 200, 500, 200, 200, 500]
    assert calls.a_mission()
    calls.control("reset-faults", {})
    assert statuses(calls, "", 3) == [200, 200, 200]
    calls.control("faults", {"kind": "status", "status": 500, "probability": 0.5})
    seen = statuses(calls, "", 200)
    assert 60 < seen.count(500) < 140
    assert calls.control("faults")["faults"][0]["struck"] == seen.count(500)


def test_faults_of_one_kind_strike_one_request_after_the_other() -> None:
    calls = Calls()
    calls.control(
        "faults",
        [
            {"kind": "status", "status": 429, "times": 1},
            {"kind": "status", "status": 429, "times": 1, "retry_after": "1000000000"},
            {"kind": "status", "status": 503, "times": 1},
        ],
    )
    answers = [calls.ask("GET", "") for _ in range(4)]
    assert [answer.status for answer in answers] == [429, 429, 503, 200]
    assert [answer.headers.get("retry-after") for answer in answers[:2]] == [None, "1000000000"]


@pytest.mark.parametrize(
    ("fault", "ending", "executed"),
    [
        ({"kind": "withhold"}, Ending.WITHHELD, 1),
        ({"kind": "withhold", "effect": False}, Ending.WITHHELD, 0),
        ({"kind": "drop"}, Ending.DROPPED, 1),
        ({"kind": "drop", "effect": False}, Ending.DROPPED, 0),
        ({"kind": "status", "status": 502, "effect": True}, Ending.SENT, 1),
        ({"kind": "status", "status": 502}, Ending.SENT, 0),
        ({"kind": "cut"}, Ending.SENT, 1),
        ({"kind": "body", "text": ""}, Ending.SENT, 1),
    ],
)
def test_the_ledger_tells_whether_a_spoiled_answer_had_its_effect(
    fault: dict[str, Any], ending: Ending, executed: int
) -> None:
    calls = Calls()
    mission = calls.a_mission()
    calls.control("faults", {**fault, "times": 1})
    reply = calls.ask("POST", f"{mission}/runs")
    assert reply.ending is ending
    assert calls.get("/runs")["meta"]["total_results"] == executed
    done = [effect["operation"] for effect in calls.simulator.ledger()["effects"]]
    assert done == ["create_mission", "start_run"][: 1 + executed]


def test_an_effect_can_come_long_after_the_request() -> None:
    calls = Calls()
    mission = calls.a_mission()
    calls.control("faults", {"kind": "late_effect", "seconds": 60, "times": 1})
    assert calls.ask("POST", f"{mission}/runs").ending is Ending.WITHHELD
    calls.clock.pass_by(59)
    assert calls.get("/runs")["data"] == []
    calls.clock.pass_by(1)
    assert [run["started_at"] for run in calls.get("/runs")["data"]] == [
        instant(START + 60 * SECOND)
    ]


def test_events_count_as_shown_only_when_a_whole_page_was_sent() -> None:
    calls = Calls(events=10)
    for fault in (
        {"kind": "cut"},
        {"kind": "overrun"},
        {"kind": "drop"},
        {"kind": "status", "status": 500, "effect": True},
        {"kind": "body", "text": '{"data":null}'},
        {"kind": "bomb", "megabytes": 1},
    ):
        calls.control("faults", {**fault, "times": 1})
        calls.ask("GET", "/events")
    assert calls.simulator.ledger()["summary"]["shown"] == 0
    calls.get("/events", size=4)
    assert calls.simulator.ledger()["summary"]["shown"] == 4


def test_the_feed_drifts_between_two_reads() -> None:
    calls = Calls(events=400)
    before = calls.feed(size=100)
    calls.control("faults", {"kind": "drift", "every": 2, "insert": 7})
    first = calls.get("/events", size=100)["data"]
    second = calls.get("/events", size=100, page=2)["data"]
    assert first == before[:100]
    assert second == before[93:193]
    calls.control("reset-faults", {})
    calls.control("faults", {"kind": "drift", "delete": 2, "times": 1})
    assert len(calls.feed()) < 407
    summary = calls.simulator.ledger()["summary"]
    assert summary["events"] - summary["deleted"] == len(calls.feed())


def test_deleted_events_can_leave_short_pages_behind() -> None:
    calls = Calls(events=300, filter_after_limit=True)
    calls.control("delete-missions", {"count": 2})
    lengths = [len(calls.get("/events", size=100, page=n)["data"]) for n in (1, 2, 3)]
    deleted = calls.simulator.ledger()["summary"]["deleted"]
    assert deleted > 0
    assert sum(lengths) == 300 - deleted
    assert calls.get("/events")["meta"]["total_results"] == 300


def test_late_events_and_clock_ties() -> None:
    calls = Calls(rate=50, late_probability=0.3, late_seconds=30, granularity=1)
    calls.clock.pass_by(60)
    events = calls.simulator.ledger()["events"]
    assert all(event["timestamp"].endswith(".000000Z") for event in events)
    late = [event for event in events if event["timestamp"][:19] < event["visible_at"][:19]]
    assert 0.2 < len(late) / len(events) < 0.4
    times = [event["timestamp"] for event in calls.feed()]
    assert times == sorted(times, reverse=True)
    calls.control("behaviour", {"order": "created"})
    assert [event["event_id"] for event in calls.feed()] == [
        event["event_id"] for event in reversed(events)
    ]


def test_the_list_can_be_in_no_order_of_time() -> None:
    calls = Calls(events=300, order="id")
    ids = [event["event_id"] for event in calls.feed(size=70)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 300
    calls.control("events", {"count": 20})
    assert calls.get("/events", size=320)["meta"]["total_results"] == 320


def test_an_event_can_be_changed_after_it_was_shown() -> None:
    calls = Calls()
    run = calls.a_run()
    (event,) = calls.control("events", {"run_id": run.rpartition("/")[2]})["events"]
    before = calls.get(f"{run}/events")["data"][0]
    calls.control("change-event", {"event_id": event["event_id"], "fields": {"summary": "Other"}})
    for path in ("/events", f"{run}/events"):
        assert calls.get(path)["data"] == [{**before, "summary": "Other"}]
    assert calls.get(f"{run}/events/{event['event_id']}")["data"]["summary"] == "Other"


def test_ties_can_stand_in_another_order_on_each_read() -> None:
    calls = Calls(shuffle_ties=True)
    calls.control("events", {"count": 5})
    calls.control("events", {"count": 40, "tie": True, "ago": 60})
    calls.control("events", {"count": 5, "ago": 120})

    def ids(page: int) -> list[str]:
        return [event["event_id"] for event in calls.get("/events", size=10, page=page)["data"]]

    assert ids(2) != ids(2)
    assert set(ids(1)[:5]) == set(ids(1)[:5])
    whole = [event["event_id"] for event in calls.get("/events", size=50)["data"]]
    assert len(set(whole)) == 50
    assert ids(5)[5:] == whole[45:]
    assert ids(1)[:5] == whole[:5]


def test_the_feed_can_be_truncated_but_not_a_runs_own_list() -> None:
    calls = Calls(newest_only=25)
    run = calls.a_run()
    calls.control("events", {"count": 100, "run_id": run.rpartition("/")[2]})
    assert len(calls.feed(size=10)) == 25
    assert calls.get("/events")["meta"]["total_results"] == 25
    assert calls.get(f"{run}/events")["meta"]["total_results"] == 100
    newest = calls.feed(size=10)
    calls.control("behaviour", {"order": "oldest"})
    assert calls.feed(size=10) == newest[::-1]


def test_the_page_size_can_be_clamped_and_the_echo_wrong() -> None:
    calls = Calls(events=300, max_page_size=100)
    page = calls.get("/events", size=1000, page=2)
    assert (len(page["data"]), page["meta"]["page_size"], page["meta"]["page_number"]) == (
        100,
        100,
        2,
    )
    calls.control("faults", {"kind": "echo", "times": 1})
    assert calls.get("/events", page=2)["meta"]["page_number"] == 3
    calls.control("faults", {"kind": "echo", "times": 1, "page_size": 1000, "total_results": 9})
    meta = calls.get("/events", size=1000)["meta"]
    assert (meta["page_number"], meta["page_size"], meta["total_results"]) == (1, 1000, 9)
    assert calls.get("/events")["meta"]["page_number"] == 1


def test_the_page_size_can_be_the_servers_own() -> None:
    calls = Calls(events=300, page_size=120)
    for asked in (50, 1000):
        page = calls.get("/events", size=asked, page=3)
        assert (len(page["data"]), page["meta"]["page_size"]) == (60, 120)


def test_a_stale_replica_shows_the_feed_of_before() -> None:
    calls = Calls()
    calls.control("events", {"count": 3})
    calls.clock.pass_by(10)
    calls.control("events", {"count": 4})
    calls.control("faults", {"kind": "stale", "seconds": 5, "age": True, "times": 1})
    reply = calls.ask("GET", "/events")
    assert (len(json.loads(reply.body)["data"]), reply.headers["age"]) == (3, "5")
    assert len(calls.get("/events")["data"]) == 7


def test_the_date_header_can_be_wrong_or_missing() -> None:
    calls = Calls(date_offset=3600)
    assert calls.ask("GET", "").headers["date"] == "Mon, 02 Feb 2026 03:40:00 GMT"
    calls.control("behaviour", {"date": False})
    assert "date" not in calls.ask("GET", "").headers


def test_a_gzip_bomb_is_small_and_unpacks_to_a_valid_page() -> None:
    calls = Calls()
    calls.control("faults", {"kind": "bomb", "megabytes": 32})
    reply = calls.ask("GET", "/events")
    assert reply.headers["content-encoding"] == "gzip"
    assert len(reply.body) < 200_000
    unpacked = zlib.decompress(reply.body, zlib.MAX_WBITS | 16)
    assert len(unpacked) > 32 * 2**20
    assert json.loads(unpacked)["data"] == []


def test_redirects_carry_their_header() -> None:
    calls = Calls()
    calls.control(
        "faults", {"kind": "status", "status": 307, "headers": {"Location": "http://else.where/"}}
    )
    assert calls.ask("GET", "").headers["location"] == "http://else.where/"
