"""What becomes of each kind of command, end to end on a Kafka and an API in memory."""

from __future__ import annotations

import httpx
import pytest
from commands_bench import LETTERS, RESULTS, Make, command, start, until
from commands_world import BEGAN, MISSION, RUN, refusal

from bridge.clock import SECOND


async def test_a_start_is_carried_out_once_and_marked(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(
        start("c1", body={"input": '{"n": 1.10}', "metadata": '{"a": 12345678901234567890}'}),
        headers=(("correlation_id", b"x-1"), ("other", b"y")),
    )
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    assert result["final"] is True
    assert result["http_status"] == 201
    assert result["attempts"] == 1
    assert result["run_id"] in bench.api.runs
    assert result["run_id"] in result["response"]
    assert bench.api.bodies == [
        '{"input":{"n":1.10},"metadata":{"a":12345678901234567890,"bridge_command_id":"c1"}}'
    ]
    (record,) = bench.kafka.records(RESULTS)
    assert record.key == MISSION.encode()
    assert record.headers == (("correlation_id", b"x-1"), ("bridge_result_id", b"0-0-final"))


async def test_no_command_begins_while_our_schema_ids_mean_something_else(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    bench.codec.trouble = "the registry was reset"
    bench.send(start("c2"))
    await until(lambda: bench.health.reasons)
    assert "the registry was reset" in str(bench.health.reasons)
    assert len(bench.api.bodies) == len(bench.kafka.records(RESULTS)) == 1
    bench.codec.trouble = None
    _, result = await bench.results(2)
    assert result["status"] == "SUCCEEDED"
    assert len(bench.api.bodies) == 2


@pytest.mark.parametrize(
    ("verb", "body", "sent"),
    [
        ("pause_run", {}, ""),
        ("resume_run", {}, ""),
        ("cancel_run", {}, ""),
        (
            "update_run",
            {"status": "failed", "result_payload": '{"x":1.10}'},
            '{"status":"failed","result_payload":{"x":1.10}}',
        ),
        (
            "log_event",
            {"type": "message", "summary": "hi", "payload": '{"a":1}'},
            '{"type":"message","summary":"hi","payload":{"a":1,"bridge_command_id":"c1"}%s',
        ),
        (
            "log_event",
            {"type": "custom", "summary": "hi"},
            '{"type":"custom","summary":"hi","payload":{"bridge_command_id":"c1"}%s',
        ),
    ],
)
async def test_each_verb_sends_its_request(
    make: Make, verb: str, body: dict[str, str], sent: str
) -> None:
    bench = await make()
    bench.begin()
    bench.send(command(verb, "c1", body=body))
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    read = [""] if verb.endswith("run") else []
    assert bench.api.bodies == [*read, sent.replace("%s", ',"idempotency_key":"c1"}')]


@pytest.mark.parametrize(
    ("verb", "status", "outcome"),
    [
        ("pause_run", "paused", "ALREADY_DONE"),
        ("resume_run", "running", "ALREADY_DONE"),
        ("cancel_run", "cancelled", "ALREADY_DONE"),
        ("pause_run", "succeeded", "REJECTED"),
        ("cancel_run", "failed", "REJECTED"),
    ],
)
async def test_a_refused_verb_is_already_done_if_the_run_has_the_wanted_status(
    make: Make, verb: str, status: str, outcome: str
) -> None:
    bench = await make()
    bench.api.runs[RUN]["status"] = status
    bench.api.script = lambda operation, _: None if operation == "get" else refusal(400)
    bench.begin()
    bench.send(command(verb, "c1"))
    (result,) = await bench.results(1)
    assert result["status"] == outcome
    assert result["http_status"] == 400
    if outcome == "REJECTED":
        assert result["error"]["code"] == "api_rejected"
        assert f"the run is {status}" in result["error"]["message"]
        assert "10015" in result["error"]["http_body"]


async def test_a_refused_start_is_rejected_with_the_apis_own_words(make: Make) -> None:
    bench = await make()
    bench.api.script = lambda *_: refusal(422)
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["http_status"]) == ("REJECTED", 422)
    assert "not now" in result["error"]["message"]


async def test_text_that_utf8_cannot_hold_is_no_obstacle_to_a_result(make: Make) -> None:
    bench = await make()
    body = b'{"errors": [{"code": "1", "title": "lone \\ud800 surrogate"}]}'
    bench.api.script = lambda *_: httpx.Response(422, content=body)
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert result["status"] == "REJECTED"
    assert "lone \\ud800 surrogate" in result["error"]["message"]


async def test_what_surely_did_not_happen_is_tried_again(make: Make) -> None:
    bench = await make()
    answers = [httpx.ConnectError("refused"), httpx.ConnectTimeout("no route")]
    reasons = []

    def script(*_: object) -> Exception | None:
        reasons.append(bench.health.reasons)
        return answers.pop() if answers else None

    bench.api.script = script
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 3)
    assert len(bench.api.runs) == 2
    await until(lambda: "commands" not in bench.health.reasons)


async def test_429_is_waited_out_and_no_attempt(make: Make) -> None:
    bench = await make()
    answers = [refusal(429, **{"retry-after": "17"}), refusal(429)]
    bench.api.script = lambda *_: answers.pop() if answers else None
    bench.begin()
    before = bench.clock.time
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 1)
    assert bench.clock.time - before >= 17


async def test_a_refused_key_stops_everything_until_it_works_again(make: Make) -> None:
    bench = await make()
    works = False
    bench.api.script = lambda *_: None if works else refusal(401)
    bench.begin()
    for number in range(5):
        bench.send(start(f"c{number}", f"00000000-0000-4000-8000-00000000000{number}"))
    await until(lambda: "api key" in bench.health.reasons)
    await until(lambda: bench.api.calls.count("probe") > 3)
    assert not bench.kafka.records(RESULTS)
    assert not bench.kafka.records(LETTERS)
    works = True
    results = await bench.results(5)
    assert {result["status"] for result in results} == {"SUCCEEDED"}
    assert set(bench.api.effects.values()) == {1}
    await until(lambda: not bench.health.reasons)


async def test_a_403_while_the_key_works_is_the_commands_own_answer(make: Make) -> None:
    bench = await make()
    bench.api.script = lambda operation, _: refusal(403) if operation == "pause" else None
    bench.begin()
    bench.send(command("pause_run", "c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["http_status"]) == ("REJECTED", 403)
    bench.send(start("c2"))
    (_, other) = await bench.results(2)
    assert other["status"] == "SUCCEEDED"


async def test_a_403_of_a_key_that_lost_everything_waits_for_a_better_one(make: Make) -> None:
    bench = await make()
    works = False
    bench.api.script = lambda *_: None if works else refusal(403)
    bench.begin()
    bench.send(start("c1"))
    await until(lambda: bench.api.calls.count("probe") > 3)
    assert not bench.kafka.records(RESULTS)
    works = True
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"


async def test_expired_commands_are_never_sent(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1", expires_at=BEGAN))
    (result,) = await bench.results(1)
    assert (result["status"], result["final"]) == ("EXPIRED", True)
    assert result["attempts"] == 0
    assert result["started_at"] is None
    assert not bench.api.calls


async def test_a_command_expires_while_the_api_is_away(make: Make) -> None:
    bench = await make()
    bench.api.script = lambda *_: httpx.ConnectError("refused")
    bench.begin()
    expires_at = bench.clock.now() + 20 * SECOND
    bench.send(start("c1", expires_at=expires_at))
    (result,) = await bench.results(1)
    assert result["status"] == "EXPIRED"
    assert result["attempts"] >= 2
    assert expires_at <= result["finished_at"] < expires_at + SECOND


async def test_the_same_id_again_is_a_duplicate_with_the_first_response(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    (first,) = await bench.results(1)
    bench.send(start("c1", issued_at=BEGAN + 5))
    (_, again) = await bench.results(2)
    assert (again["status"], again["final"]) == ("DUPLICATE", False)
    assert again["response"] == first["response"]
    assert again["run_id"] == first["run_id"]
    assert "SUCCEEDED" in again["error"]["message"]
    assert bench.api.calls == ["start"]


async def test_two_equal_commands_at_once_are_one_effect_and_one_final_result(make: Make) -> None:
    bench = await make()
    for _ in range(3):
        bench.send(start("c1"))
    bench.begin()
    results = await bench.results(3)
    assert [(result["status"], result["final"]) for result in results] == [
        ("SUCCEEDED", True),
        ("DUPLICATE", False),
        ("DUPLICATE", False),
    ]
    assert bench.api.calls == ["start"]


async def test_a_used_id_with_another_body_is_rejected(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    bench.send(start("c1", body={"input": '{"other": true}'}))
    (_, reused) = await bench.results(2)
    assert (reused["status"], reused["final"]) == ("REJECTED", False)
    assert reused["error"]["code"] == "id_reused"
    assert bench.api.calls == ["start"]


async def test_an_id_that_another_key_uses_right_now_is_rejected(make: Make) -> None:
    bench = await make()
    other = "11111111-1111-4111-8111-111111111111"
    bench.api.script = lambda *_: httpx.ConnectError("refused")
    bench.begin()
    bench.send(start("c1"))
    bench.send(start("c1", other))
    (reused,) = await bench.results(1)
    assert (reused["error"]["code"], reused["final"]) == ("id_reused", False)
    assert reused["mission_id"] == other


async def test_the_fuse_delays_starts_and_nothing_else(make: Make) -> None:
    bench = await make(max_starts_per_minute=2)
    bench.begin()
    began = bench.clock.time
    for number in range(3):
        bench.send(start(f"c{number}", f"00000000-0000-4000-8000-00000000000{number}"))
    results = await bench.results(3)
    assert {result["status"] for result in results} == {"SUCCEEDED"}
    assert bench.clock.time - began >= 60
