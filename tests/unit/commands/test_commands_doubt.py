"""Requests without a clear answer: the effect is found, surely absent, or the doubt is told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from commands_api import NEW, PLAN, lose, on_whole, order
from commands_bench import RESULTS, Make, command, until
from commands_world import refusal

from bridge.clock import SECOND

SETTLE = 35.0


async def test_a_command_may_be_stricter_than_the_bridge(make: Make) -> None:
    bench, api = await on_whole(make, on_doubt="resolve")
    lose(bench, "start_run", effect=False)
    bench.send(order("start_run", on_doubt="strict"))
    assert (await bench.final())["status"] == "IN_DOUBT"
    assert api.done("start_run") == 0


@pytest.mark.parametrize(
    "answer",
    [
        refusal(500),
        refusal(503),
        refusal(408),
        httpx.Response(201, content=b'{"data": {"run_id"'),
        httpx.ReadTimeout("silence"),
        httpx.ReadError("reset"),
    ],
)
async def test_an_ambiguous_start_is_told_looked_for_and_not_repeated(
    make: Make, answer: httpx.Response | Exception
) -> None:
    bench, api = await on_whole(make)
    api.script = lambda operation, _: answer if operation == "start_run" else None
    bench.send(order("start_run"), headers=(("correlation_id", b"x"),))
    result = await bench.final()
    first, last = await bench.read(RESULTS)
    assert (first["status"], first["final"]) == ("IN_DOUBT", False)
    assert "still looked for" in first["error"]["message"]
    assert (last["status"], last["final"]) == ("IN_DOUBT", True)
    assert "metadata.bridge_command_id = c1" in result["error"]["message"]
    assert api.mission in result["error"]["message"]
    assert [record.headers for record in bench.kafka.records(RESULTS)] == [
        (("correlation_id", b"x"), ("bridge_result_id", b"0-0-in_doubt")),
        (("correlation_id", b"x"), ("bridge_result_id", b"0-0-final")),
    ]
    bench.send(order("start_run"))
    again = (await bench.results(3))[2]
    assert (again["status"], again["final"]) == ("DUPLICATE", False)
    assert api.calls.count("start_run") == 1


async def test_a_pause_is_not_repeated_over_what_someone_else_did(make: Make) -> None:
    bench, api = await on_whole(make, on_doubt="resolve")

    def script(operation: str, _: httpx.Request) -> Exception | None:
        if operation != "pause_run":
            return None
        run = api.simulator.world.run(api.mission, api.run)
        api.simulator.world.set_status(run, "succeeded", bench.clock.now())
        return httpx.ReadError("reset")

    api.script = script
    bench.send(order("pause_run"))
    result = await bench.final()
    assert result["status"] == "IN_DOUBT"
    assert "the run is succeeded" in result["error"]["message"]
    assert api.calls.count("pause_run") == 1


async def test_an_update_is_not_repeated_over_what_someone_else_set(make: Make) -> None:
    bench, api = await on_whole(make)

    def script(operation: str, _: httpx.Request) -> Exception | None:
        if operation != "update_run":
            return None
        run = api.simulator.world.run(api.mission, api.run)
        api.simulator.world.update_run(run, {"result_summary": "mine"}, bench.clock.now())
        return httpx.ReadError("reset")

    api.script = script
    bench.send(order("update_run"))
    assert (await bench.final())["status"] == "IN_DOUBT"
    assert api.calls.count("update_run") == 1


async def test_a_plan_with_some_of_the_steps_is_a_doubt(make: Make) -> None:
    bench, _ = await on_whole(make)
    lose(bench, "add_steps", effect=False)
    old = PLAN[0] | {"metadata": None}
    steps = [old, NEW | {"parent_step_id": None, "metadata": None}]
    bench.send(command("add_steps", "c1", body={"steps": steps}))
    result = await bench.final()
    assert result["status"] == "IN_DOUBT"
    assert "some of the steps" in result["error"]["message"]


async def test_an_answer_that_is_never_clear_and_never_an_effect_fails(make: Make) -> None:
    bench, api = await on_whole(make)
    api.script = lambda operation, _: refusal(500) if operation == "update_step" else None
    bench.send(order("update_step"))
    result = await bench.final()
    assert (result["status"], result["error"]["code"]) == ("FAILED", "no_effect")
    assert result["attempts"] == 5 == api.calls.count("update_step")


async def test_a_cancel_is_repeated_at_once(make: Make) -> None:
    bench, api = await on_whole(make)
    lose(bench, "cancel_run", effect=False, times=2)
    began = bench.clock.time
    bench.send(order("cancel_run"))
    result = await bench.final()
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 3)
    assert bench.clock.time - began < SETTLE
    assert api.done("cancel_run") == 1


async def test_a_cancel_that_came_late_beside_its_repetition_is_a_success(make: Make) -> None:
    bench, api = await on_whole(make)
    held: list[httpx.Request] = []

    def script(operation: str, request: httpx.Request) -> Any:
        if operation != "cancel_run":
            return None
        held.append(request)
        if len(held) == 1:
            return httpx.ReadError("reset")
        api.carry_out(operation, held[0])
        return None

    api.script = script
    bench.send(order("cancel_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "run")
    assert api.done("cancel_run") == 1


@pytest.mark.parametrize("verb", ["cancel_run", "start_run", "update_step"])
async def test_what_may_have_been_done_is_not_called_expired_before_that_is_disproved(
    make: Make, verb: str
) -> None:
    bench, api = await on_whole(make)
    lose(bench, verb, effect=False, times=99)
    await until(lambda: bench.running().get("position") == 0)
    began = bench.clock.time
    bench.send(order(verb, expires_at=bench.clock.now() + 2 * SECOND))
    result = await bench.final()
    assert result["status"] == ("IN_DOUBT" if verb == "start_run" else "EXPIRED")
    assert bench.clock.time - began > SETTLE
    assert api.done(verb) == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_is_refused_while_looking_says_nothing_about_the_command(
    make: Make, status: int
) -> None:
    bench, api = await on_whole(make)
    works = False

    def script(operation: str, request: httpx.Request) -> Any:
        if operation == "start_run":
            api.carry_out(operation, request)
            return httpx.ReadError("reset")
        return None if works else refusal(status)

    api.script = script
    bench.send(order("start_run"))
    await until(lambda: api.calls.count("probe") > 2)
    assert not bench.kafka.records(RESULTS)
    works = True
    assert (await bench.final())["status"] == "SUCCEEDED"


async def test_a_403_of_the_look_alone_is_a_doubt(make: Make) -> None:
    bench, api = await on_whole(make)

    def script(operation: str, _: httpx.Request) -> Any:
        if operation == "start_run":
            return httpx.ReadError("reset")
        return refusal(403) if operation == "list_runs" else None

    api.script = script
    bench.send(order("start_run"))
    assert (await bench.final())["status"] == "IN_DOUBT"


async def test_a_lane_in_doubt_holds_up_nobody_else(make: Make) -> None:
    bench, _ = await on_whole(make)
    lose(bench, "start_run", effect=False)
    bench.send(order("start_run"))
    bench.send(order("log_event", "c2"))
    bench.send(order("clone_mission", "c3"))
    await bench.final("c2")
    await until(lambda: len(bench.kafka.records(RESULTS)) >= 2)
    assert not [r for r in await bench.read(RESULTS) if r["command_id"] == "c1" and r["final"]]
    await bench.final("c1")
    await bench.final("c3")


def told(results: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    return [(result["status"], result["final"]) for result in results]


@pytest.mark.parametrize("when", ["told", "untold"])
async def test_a_crash_while_it_is_looked_for_starts_the_settle_time_anew_and_tells_once(
    make: Make, when: str
) -> None:
    bench, api = await on_whole(make)
    lose(bench, "start_run", effect=False)
    if when == "untold":
        reached = bench.freeze("before", "doubt")
        bench.send(order("start_run"))
        await reached.wait()
    else:
        bench.send(order("start_run"))
        await bench.results(1)
    await bench.crash()
    bench.begin()
    began = bench.clock.time
    await bench.final()
    assert bench.clock.time - began >= SETTLE
    assert told(await bench.read(RESULTS)) == [("IN_DOUBT", False), ("IN_DOUBT", True)]
    assert api.calls.count("start_run") == 1


async def test_sigterm_leaves_a_doubt_to_the_next_start(make: Make) -> None:
    bench, _ = await on_whole(make)
    lose(bench, "start_run", effect=False)
    bench.send(order("start_run"))
    await bench.results(1)
    await bench.end()
    assert told(await bench.read(RESULTS)) == [("IN_DOUBT", False)]
    bench.begin()
    await bench.final()
    assert told(await bench.read(RESULTS)) == [("IN_DOUBT", False), ("IN_DOUBT", True)]
