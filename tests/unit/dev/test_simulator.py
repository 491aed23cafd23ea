"""The simulated API keeps the contract, and does what the contract leaves out."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest
from simulator_calls import MISSIONS, START, Calls, problem

from bridge.clock import SECOND
from bridge.dev.api.operations import OPERATIONS


def test_only_a_bearer_key_opens_it_and_the_key_can_be_changed() -> None:
    calls = Calls(api_key="KEY")
    assert calls.ask("GET", "").status == 200
    for header in ("", "KEY", "Basic KEY", "Bearer ", "Bearer other"):
        reply = calls.simulator.handle("GET", MISSIONS, "", {"authorization": header})
        assert problem(reply) == (401, "10009", None)
    calls.control("key", {"api_key": "other"})
    assert calls.ask("GET", "").status == 401
    calls.control("key", {"api_key": None})
    assert calls.ask("GET", "").status == 200


def test_pages_are_counted_as_documented() -> None:
    calls = Calls(events=130)
    page = calls.get("/events")
    assert page["meta"] == {
        "total_pages": 3,
        "total_results": 130,
        "page_number": 1,
        "page_size": 50,
    }
    assert len(page["data"]) == 50
    assert len(calls.get("/events", page=3)["data"]) == 30
    assert calls.get("/events", page=4)["data"] == []
    assert calls.get("")["meta"]["page_size"] == 20
    assert calls.get("/runs")["meta"]["page_size"] == 20
    empty = Calls().get("/events")
    assert empty == {
        "data": [],
        "meta": {"total_pages": 0, "total_results": 0, "page_number": 1, "page_size": 50},
    }


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("page[size]=0", "page[size]"),
        ("page[size]=1001", "page[size]"),
        ("page[size]=x", "page[size]"),
        ("page[number]=0", "page[number]"),
    ],
)
def test_page_numbers_out_of_range_are_refused(query: str, name: str) -> None:
    calls = Calls()
    headers = {"authorization": "Bearer KEY"}
    reply = calls.simulator.handle("GET", f"{MISSIONS}/events", query, headers)
    assert problem(reply) == (400, "10015", name)


def test_events_come_newest_first_or_oldest_first() -> None:
    times = [event["timestamp"] for event in Calls(events=300).feed(size=70)]
    assert times == sorted(times, reverse=True)
    turned = [event["timestamp"] for event in Calls(events=300, order="oldest").feed(size=70)]
    assert turned == times[::-1]


def test_filters_select_by_plain_equality() -> None:
    calls = Calls(events=500)
    everything = calls.feed()
    messages = calls.feed(type="message")
    assert messages == [event for event in everything if event["type"] == "message"]
    assert calls.feed(type="unheard_of") == []
    run_id = everything[0]["run_id"]
    runs = calls.get("/runs", size=1000)["data"]
    mission_id = next(run["mission_id"] for run in runs if run["run_id"] == run_id)
    of_run = [event for event in everything if event["run_id"] == run_id]
    step_id = next(event["step_id"] for event in of_run if event["step_id"])
    path = f"/{mission_id}/runs/{run_id}/events"
    assert calls.get(path, size=1000)["data"] == of_run
    assert calls.get(path, size=1000, step_id=step_id)["data"] == [
        event for event in of_run if event["step_id"] == step_id
    ]
    succeeded = calls.get("/runs", size=1000, status="succeeded")["data"]
    assert succeeded == [run for run in runs if run["status"] == "succeeded"]


def test_optional_fields_are_explicit_nulls_and_times_have_six_decimals() -> None:
    calls = Calls()
    mission = calls.a_mission()
    run = calls.send("POST", f"{mission}/runs")
    assert run["finished_at"] is run["result_summary"] is run["metadata"] is run["error"] is None
    assert UUID(run["organization_id"]).version == 4
    assert run["started_at"] == "2026-02-02T02:40:00.000000Z"
    event = calls.send(
        "POST", f"{mission}/runs/{run['run_id']}/events", {"type": "custom", "summary": ""}
    )
    assert event["payload"] is event["step_id"] is event["idempotency_key"] is None
    assert calls.ask("GET", "").headers["date"] == "Mon, 02 Feb 2026 02:40:00 GMT"


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("", {}, (400, "10004", "/body/name")),
        ("", {"name": 1}, (400, "10015", "/body/name")),
        ("", {"name": "x", "execution_mode": "wild"}, (400, "10015", "/body/execution_mode")),
        ("", None, (400, "10015", "/body")),
        ("", b"{", (400, "10015", "/body")),
        ("", b'{"name": "x", "metadata": {"n": NaN}}', (400, "10015", "/body")),
        ("{run}/events", {"summary": "s"}, (400, "10004", "/body/type")),
        ("{run}/events", {"type": "odd", "summary": "s"}, (400, "10015", "/body/type")),
        ("{run}/plan", {"steps": [{}]}, (400, "10004", "/body/steps[0]/step_id")),
        ("{run}/telnyx-agents", {}, (400, "10004", "/body/telnyx_agent_id")),
        ("/no-uuid/runs", {}, (400, "10006", "mission_id")),
    ],
)
def test_what_is_invalid_is_named(
    path: str, body: object, expected: tuple[int, str, str | None]
) -> None:
    calls = Calls()
    reply = calls.ask("POST", path.format(run=calls.a_run()), body)
    assert problem(reply) == expected


def test_validation_errors_can_have_the_declared_form() -> None:
    calls = Calls(error_form="fastapi")
    reply = calls.ask("POST", f"{calls.a_run()}/plan", {"steps": [{"step_id": "a"}]})
    assert reply.status == 422
    assert [(d["loc"], d["type"]) for d in json.loads(reply.body)["detail"]] == [
        (["body", "steps", 0, "description"], "missing"),
        (["body", "steps", 0, "sequence"], "missing"),
    ]
    assert calls.ask("GET", f"/{uuid4()}").status == 404


def test_what_is_not_there_is_404() -> None:
    calls = Calls()
    mission, run, other = calls.a_mission(), calls.a_run(), uuid4()
    run_id = run.rpartition("/")[2]
    for method, path in (
        ("GET", f"/{other}"),
        ("POST", "/word/clone"),
        ("GET", f"{mission}/runs/{run_id}"),
        ("GET", f"{run}/events/{other}"),
        ("GET", f"{run}/plan/steps/-"),
        ("DELETE", f"{run}/telnyx-agents/assistant-{other}"),
        ("GET", f"{mission}/tools"),
        ("GET", "/"),
        ("GET", f"{run}/"),
    ):
        assert problem(calls.ask(method, path))[:2] == (404, "10005"), path
    assert calls.simulator.handle("GET", "/v1", "", {"authorization": "Bearer K"}).status == 404
    assert calls.ask("PUT", run).status == 405


def test_ids_in_paths_are_percent_encoded() -> None:
    calls = Calls()
    run = calls.a_run()
    step = {"step_id": "a/b c", "description": "d", "sequence": 1}
    calls.send("POST", f"{run}/plan", {"steps": [step]})
    assert calls.get(f"{run}/plan/steps/a%2Fb%20c")["data"]["step_id"] == "a/b c"


@pytest.mark.parametrize("status", [400, 409, 422])
def test_only_the_documented_transitions_are_allowed(status: int) -> None:
    allowed = {
        "pending": {"cancel"},
        "running": {"pause", "cancel"},
        "paused": {"resume", "cancel"},
        "succeeded": set(),
        "failed": set(),
        "cancelled": set(),
    }
    for state, verbs in allowed.items():
        for verb in ("pause", "resume", "cancel"):
            calls = Calls(illegal_status=status)
            run = calls.a_run()
            if state != "pending":
                calls.send("PATCH", run, {"status": state})
            reply = calls.ask("POST", f"{run}/{verb}")
            assert reply.status == (200 if verb in verbs else status), (state, verb)
    calls.send("PATCH", run, {"result_summary": "words may still be added"})
    assert calls.ask("PATCH", run, {"status": "running"}).status == status


def test_updated_at_of_a_run_stands_still_and_its_end_is_noted() -> None:
    calls = Calls()
    run = calls.a_run()
    calls.clock.pass_by(5)
    ended = calls.send("PATCH", run, {"status": "succeeded", "result_payload": {"n": 10**20}})
    assert ended["updated_at"] == ended["started_at"] == "2026-02-02T02:40:00.000000Z"
    assert ended["finished_at"] == "2026-02-02T02:40:05.000000Z"
    assert calls.get(run)["data"] == ended
    assert ended["result_payload"] == {"n": 10**20}
    assert calls.feed() == []


def test_an_idempotency_key_is_known_again_unless_that_is_switched_off() -> None:
    body = {"type": "message", "summary": "s", "idempotency_key": "k"}
    calls = Calls()
    run, other = calls.a_run(), calls.a_run()
    first = calls.ask("POST", f"{run}/events", body)
    again = calls.ask("POST", f"{run}/events", body)
    assert (first.status, again.status, again.body) == (201, 200, first.body)
    calls.send("POST", f"{other}/events", body)
    assert len(calls.feed()) == 2
    calls.control("behaviour", {"idempotency": False})
    assert calls.ask("POST", f"{run}/events", body).status == 201
    assert len(calls.feed()) == 3


def test_a_plan_is_made_once_and_its_steps_have_distinct_ids() -> None:
    calls = Calls()
    run = calls.a_run()
    step = {"step_id": "a", "description": "d", "sequence": 1}
    assert calls.ask("POST", f"{run}/plan", {"steps": [step, step]}).status == 400
    calls.send("POST", f"{run}/plan", {"steps": [step]})
    assert calls.ask("POST", f"{run}/plan", {"steps": [{**step, "step_id": "b"}]}).status == 400
    assert calls.ask("POST", f"{run}/plan/steps", {"steps": [step]}).status == 400
    done = calls.send("PATCH", f"{run}/plan/steps/a", {"status": "completed", "metadata": None})
    assert done["completed_at"] is not None


def test_deleting_a_mission_takes_its_runs_and_events_along() -> None:
    calls = Calls()
    run = calls.a_run()
    kept = calls.a_run()
    for path in (run, kept):
        calls.send("POST", f"{path}/events", {"type": "error", "summary": path})
    calls.send("DELETE", "/" + run.split("/")[1])
    assert [event["summary"] for event in calls.feed()] == [kept]
    assert [r["run_id"] for r in calls.get("/runs")["data"]] == [kept.rpartition("/")[2]]
    assert calls.ask("GET", run).status == 404
    gone, stayed = calls.simulator.ledger()["events"]
    assert gone["deleted_at"] is not None
    assert stayed["deleted_at"] is None


def test_the_rate_limit_is_told_and_enforced() -> None:
    calls = Calls(rate_limit=2)
    calls.clock.at = START // (60 * SECOND) * 60 * SECOND + 15 * SECOND
    headers = calls.ask("GET", "").headers
    assert [v for k, v in headers.items() if k.startswith("x-ratelimit")] == ["2", "1", "45"]
    assert calls.ask("GET", "").status == 200
    assert problem(calls.ask("GET", "")) == (429, "10011", None)
    calls.clock.pass_by(45)
    assert calls.ask("GET", "").status == 200


def test_the_ledger_knows_every_effect_by_its_marks() -> None:
    calls = Calls()
    mission = calls.a_mission()
    run = calls.send("POST", f"{mission}/runs", {"metadata": {"bridge_command_id": "c-1"}})
    path = f"{mission}/runs/{run['run_id']}"
    event = {"type": "custom", "summary": "s", "idempotency_key": "c-2"}
    logged = calls.send("POST", f"{path}/events", event)
    calls.ask("POST", f"{path}/events", event)
    calls.ask("POST", f"{path}/pause")
    ledger = calls.simulator.ledger()
    facts = [
        {k: v for k, v in effect.items() if k not in {"number", "at"}}
        for effect in ledger["effects"]
    ]
    ids = {"mission_id": mission[1:], "run_id": run["run_id"]}
    assert facts[1:] == [
        {"operation": "start_run", **ids, "command_id": "c-1"},
        {
            "operation": "log_event",
            **ids,
            "idempotency_key": "c-2",
            "event_id": logged["event_id"],
        },
    ]
    assert ledger["requests"]["log_event"] == {"201": 1, "200": 1}
    assert ledger["requests"]["pause_run"] == {"400": 1}


def test_the_control_endpoint_describes_itself_and_refuses_nonsense() -> None:
    calls = Calls()
    described = calls.control("")
    assert described["operations"] == list(OPERATIONS)
    assert set(described["faults"]) >= {"drift", "status", "withhold", "cut", "bomb", "echo"}
    for name, body in (
        ("faults", {"kind": "plague"}),
        ("faults", {"kind": "status", "status": 503, "operation": "make_coffee"}),
        ("behaviour", {"order": "random"}),
        ("behaviour", []),
        ("events", {"run_id": "none"}),
        ("change-event", {"event_id": "none", "fields": {}}),
        ("key", {}),
    ):
        with pytest.raises(ValueError, match="error"):
            calls.control(name, body)
    assert calls.simulator.handle("GET", "/_control/nothing").status == 404
