"""What answers prove of a command: refusals, redirects, and words of others on the way."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from commands_api import ORDERS, WholeApi, lose, on_whole, order
from commands_bench import RESULTS, Bench, Make, until
from commands_world import refusal

SETTLE = 35.0
HTML = b"<html><body>a gateway</body></html>"


def foreign(status: int, body: bytes = HTML, **headers: str) -> httpx.Response:
    return httpx.Response(status, content=body, headers=headers)


def answering(bench: Bench, verb: str, answer: httpx.Response, *, effect: bool = False) -> None:
    """Give all requests of a verb this answer, after their effect or without."""

    def script(operation: str, request: httpx.Request) -> Any:
        if operation != verb:
            return None
        if effect:
            bench.api.carry_out(operation, request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    bench.api.script = script


# Anyone on the way


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("policy", ["strict", "resolve"])
async def test_a_redirect_after_the_effect_starts_no_second_run(
    make: Make, status: int, policy: str
) -> None:
    bench, api = await on_whole(make, on_doubt=policy)
    answering(bench, "start_run", foreign(status, location="/elsewhere"), effect=True)
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "runs")
    assert api.done("start_run") == 1


@pytest.mark.parametrize("status", [400, 402, 403, 404, 405, 409, 410, 413, 422, 426, 431, 451])
async def test_a_foreign_refusal_after_the_effect_is_no_refusal(make: Make, status: int) -> None:
    bench, api = await on_whole(make)
    answering(bench, "start_run", foreign(status), effect=True)
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "runs")
    assert api.done("start_run") == 1


@pytest.mark.parametrize("status", [400, 403, 404, 410, 418])
async def test_a_foreign_refusal_without_effect_is_a_doubt_and_never_rejected(
    make: Make, status: int
) -> None:
    bench, api = await on_whole(make)
    answering(bench, "start_run", foreign(status, b'{"message": "no route"}'))
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["http_status"]) == ("IN_DOUBT", status)
    assert api.calls.count("start_run") == 1


@pytest.mark.parametrize("status", [404, 410])
async def test_a_foreign_404_does_not_mean_that_a_mission_is_deleted(
    make: Make, status: int
) -> None:
    bench, api = await on_whole(make)
    answers = [foreign(status)]
    api.script = lambda operation, _: (
        answers.pop() if operation == "delete_mission" and answers else None
    )
    bench.send(order("delete_mission"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", None)
    assert api.done("delete_mission") == 1


@pytest.mark.parametrize("status", [401, 407, 421, 425])
async def test_what_was_not_passed_on_is_made_again(make: Make, status: int) -> None:
    bench, api = await on_whole(make)
    answers = [foreign(status) for _ in range(3)]
    api.script = lambda operation, _: (
        answers.pop() if operation == "start_run" and answers else None
    )
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", None)
    assert api.done("start_run") == 1


async def test_what_is_never_let_pass_while_the_key_works_has_failed(make: Make) -> None:
    bench, api = await on_whole(make)
    answering(bench, "start_run", foreign(401))
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["error"]["code"]) == ("FAILED", "no_effect")
    assert result["attempts"] == 5 == api.calls.count("start_run")


async def test_a_foreign_404_of_a_look_is_looked_at_again(make: Make) -> None:
    bench, api = await on_whole(make)
    looks = [foreign(404) for _ in range(4)]

    def script(operation: str, request: httpx.Request) -> Any:
        if operation == "start_run":
            api.carry_out(operation, request)
            return httpx.ReadError("reset")
        return looks.pop() if operation == "list_runs" and looks else None

    api.script = script
    bench.send(order("start_run"))
    assert (await bench.final())["status"] == "SUCCEEDED"
    assert not looks


# The key


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_of_one_operation_while_the_key_works_is_the_commands_own_answer(
    make: Make, status: int
) -> None:
    bench, api = await on_whole(make)
    answering(bench, "pause_run", refusal(status))
    unready: list[str] = []
    put = bench.health.unready

    def noted(part: str, reason: str) -> None:
        unready.append(part)
        put(part, reason)

    bench.health.unready = noted  # type: ignore[method-assign]
    bench.send(order("pause_run"))
    result = await bench.final()
    assert (result["status"], result["http_status"]) == ("REJECTED", status)
    assert api.calls.count("pause_run") == 2
    assert "api key" not in unready, "nobody else has anything to do with it"


async def test_a_key_that_was_replaced_between_request_and_probe_rejects_nothing(
    make: Make,
) -> None:
    bench, api = await on_whole(make)
    answers = [refusal(401)]
    api.script = lambda operation, _: (
        answers.pop() if operation == "start_run" and answers else None
    )
    bench.send(order("start_run"))
    assert (await bench.final())["status"] == "SUCCEEDED"


# Reads may be old


def set_status(api: WholeApi, status: str) -> None:
    world = api.simulator.world
    world.set_status(world.run(api.mission, api.run), status, 0)


def lagging(api: WholeApi, bench: Bench, status: str, *, until: float) -> Any:
    """Return what shows the run in another status, up to a time."""

    def script(operation: str, request: httpx.Request) -> Any:
        if operation != "get_run" or bench.clock.time >= until:
            return None
        old = api.carry_out(operation, request).json()
        old["data"]["status"] = status
        return httpx.Response(200, json=old)

    return script


@pytest.mark.parametrize(
    ("verb", "old", "now", "told"),
    [
        ("pause_run", "paused", "cancelled", "REJECTED"),
        ("resume_run", "running", "cancelled", "REJECTED"),
        ("cancel_run", "cancelled", "failed", "REJECTED"),
        ("pause_run", "running", "paused", "ALREADY_DONE"),
        ("resume_run", "paused", "running", "ALREADY_DONE"),
        ("cancel_run", "running", "cancelled", "ALREADY_DONE"),
    ],
)
async def test_a_refusal_is_not_explained_by_an_old_picture(
    make: Make, verb: str, old: str, now: str, told: str
) -> None:
    bench, api = await on_whole(make)
    set_status(api, now)
    api.script = lagging(api, bench, old, until=bench.clock.time + 20)
    bench.send(order(verb, run_id=api.run))
    result = await bench.final()
    assert result["status"] == told
    assert [one["final"] for one in await bench.read(RESULTS)] == [True], "the answer was clear"
    assert api.calls.count(verb) == 1


async def test_an_old_picture_does_not_show_the_effect_of_a_later_request(make: Make) -> None:
    """Paused and resumed before; the second pause is lost, and a copy still shows the first."""
    bench, api = await on_whole(make)
    old: list[httpx.Response] = []

    def script(operation: str, request: httpx.Request) -> Any:
        if operation == "pause_run":
            sent.append(bench.clock.time)
            return httpx.Response(503)
        if operation == "get_run" and sent and bench.clock.time < sent[0] + 20:
            shown = api.carry_out(operation, request).json()
            shown["data"]["status"] = "paused"
            old.append(httpx.Response(200, json=shown))
            return old[-1]
        return None

    sent: list[float] = []
    api.script = script
    bench.send(order("pause_run"))
    result = await bench.final()
    assert old
    assert result["status"] == "IN_DOUBT"


async def test_a_mission_that_a_copy_does_not_show_yet_is_not_taken_for_deleted(
    make: Make,
) -> None:
    bench, api = await on_whole(make)
    answers: list[Any] = [httpx.ReadError("reset")]

    def script(operation: str, _: httpx.Request) -> Any:
        if operation == "delete_mission" and answers:
            began.append(bench.clock.time)
            return answers.pop()
        if operation == "get_mission" and bench.clock.time < began[0] + 20:
            return refusal(404)
        return None

    began: list[float] = []
    api.script = script
    bench.send(order("delete_mission"))
    assert (await bench.final())["status"] == "SUCCEEDED"
    assert api.done("delete_mission") == 1


async def test_a_run_that_a_copy_does_not_show_yet_is_not_taken_for_unknown(make: Make) -> None:
    bench, api = await on_whole(make)
    api.script = lambda operation, _: refusal(404) if operation == "get_run" else None
    bench.send(order("pause_run"))
    assert (await bench.final())["status"] == "SUCCEEDED"


async def test_looks_that_contradict_each_other_for_ever_end_in_doubt(make: Make) -> None:
    bench, api = await on_whole(make)
    looks: list[str] = []

    def script(operation: str, request: httpx.Request) -> Any:
        if operation == "pause_run":
            return httpx.ReadError("reset")
        if operation != "get_run":
            return None
        looks.append("paused" if len(looks) % 2 else "running")
        shown = api.carry_out(operation, request).json()
        shown["data"]["status"] = looks[-1]
        return httpx.Response(200, json=shown)

    api.script = script
    bench.send(order("pause_run"))
    result = await bench.final()
    assert result["status"] == "IN_DOUBT"
    assert "contradict" in result["error"]["message"]
    assert len(looks) < 15


async def test_a_refused_command_that_is_looked_at_when_the_bridge_dies_is_asked_again(
    make: Make,
) -> None:
    bench, api = await on_whole(make)
    set_status(api, "cancelled")
    bench.send(order("pause_run"))
    await until(lambda: api.calls.count("get_run") > 1)
    await bench.crash()
    bench.begin()
    result = await bench.final()
    assert (result["status"], result["http_status"]) == ("REJECTED", 400)
    assert [one["status"] for one in await bench.read(RESULTS)] == ["REJECTED"]


async def test_an_event_whose_key_is_known_already_is_no_failure(make: Make) -> None:
    bench, api = await on_whole(make)
    answering(bench, "log_event", refusal(409), effect=True)
    bench.send(order("log_event"))
    result = await bench.final()
    assert result["status"] == "ALREADY_DONE"
    assert api.done("log_event") == 1


# The mark


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        *(
            (verb, {"metadata": '{"bridge_command_id": "c9"}'})
            for verb in (
                "create_mission",
                "update_mission",
                "start_run",
                "update_run",
                "update_step",
            )
        ),
        ("log_event", {"payload": '{"bridge_command_id": "c9"}'}),
        ("update_run", {"metadata": '{"bridge_command_id": null}'}),
    ],
)
async def test_a_command_that_writes_the_mark_is_invalid(
    make: Make, verb: str, fields: dict[str, Any]
) -> None:
    bench, api = await on_whole(make)
    bench.send(order(verb, body=ORDERS[verb] | fields))
    result = await bench.final()
    assert (result["status"], result["error"]["code"]) == ("REJECTED", "invalid")
    assert "bridge_command_id" in result["error"]["message"]
    assert not api.calls


@pytest.mark.parametrize("policy", ["strict", "resolve"])
async def test_a_run_that_is_older_than_the_request_is_not_the_commands(
    make: Make, policy: str
) -> None:
    bench, api = await on_whole(make, on_doubt=policy)
    world = api.simulator.world
    world.run(api.mission, api.run).row["metadata"] = {"bridge_command_id": "c1"}
    bench.clock.time += 60
    lose(bench, "start_run", effect=False, times=99)
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["run_id"]) == ("IN_DOUBT", None)
    assert "older than its request" in result["error"]["message"]
    assert api.calls.count("start_run") == 1


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("create_plan", {"step_id": "a b"}),
        ("add_steps", {"step_id": ""}),
        ("add_steps", {"parent_step_id": "../x"}),
    ],
)
async def test_a_step_that_no_command_could_name_again_is_invalid(
    make: Make, verb: str, fields: dict[str, Any]
) -> None:
    bench, api = await on_whole(make)
    (step,) = ORDERS[verb]["steps"]
    bench.send(order(verb, body={"steps": [step | fields]}))
    result = await bench.final()
    assert (result["status"], result["error"]["code"]) == ("REJECTED", "invalid")
    assert "step_id" in result["error"]["message"]
    assert not api.calls
