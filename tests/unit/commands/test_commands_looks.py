"""Looks for the effect of a request: how far apart they are, and what they find."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import httpx
import pytest
from commands_api import WholeApi, on_whole, order
from commands_bench import Make
from commands_world import refusal


async def test_the_looks_are_a_settle_time_apart(make: Make) -> None:
    bench, api = await on_whole(make)
    looks: list[float] = []

    def script(operation: str, _: httpx.Request) -> Exception | None:
        if operation == "list_runs":
            looks.append(bench.clock.time)
        return httpx.ReadError("reset") if operation == "start_run" else None

    api.script = script
    bench.send(order("start_run"))
    await bench.final()
    gaps = [round(later - earlier) for earlier, later in pairwise(looks)]
    # Each look reads to the empty page. Nothing newer is on the list, which may be an old copy:
    # one more look.
    assert gaps == [0, 35, 0, 35, 0]


async def test_something_newer_on_the_list_makes_a_third_look_needless(make: Make) -> None:
    bench, api = await on_whole(make)

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation == "start_run":
            asked.append(bench.clock.time)
        if operation == "list_runs" and bench.clock.time > asked[0] + 10 and not newer:
            newer.append(operation)
            mission = api.simulator.world.mission(api.mission)
            at = bench.clock.now()
            api.simulator.world.start_run(mission, "1" * 8 + WholeApi.run[8:], {"input": {}}, at)
        return httpx.ReadError("reset") if operation == "start_run" else None

    newer: list[str] = []
    asked: list[float] = []
    api.script = script
    bench.send(order("start_run"))
    result = await bench.final()
    assert api.calls.count("list_runs") == 2 * 2, "each look reads to the empty page"
    assert result["status"] == "IN_DOUBT"


async def test_a_run_that_shows_up_late_is_found(make: Make) -> None:
    bench, api = await on_whole(make, on_doubt="resolve")
    held: list[httpx.Request] = []

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation == "start_run":
            held.append(request)
            return httpx.ReadError("reset")
        if held and bench.clock.time > began + 20:
            api.carry_out("start_run", held.pop())
        return None

    began = bench.clock.time
    api.script = script
    bench.send(order("start_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "runs")
    assert api.done("start_run") == 1


async def test_two_effects_of_one_command_are_told(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first request was carried out long after it was given up: nobody could know."""
    bench, api = await on_whole(make, on_doubt="resolve")
    held: list[httpx.Request] = []

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation != "start_run":
            return None
        held.append(request)
        if len(held) == 2:
            for each in held:
                api.carry_out("start_run", each)
        return httpx.ReadError("reset")

    api.script = script
    bench.send(order("start_run"))
    result = await bench.final()
    assert result["status"] == "SUCCEEDED"
    assert api.done("start_run") == 2
    assert "carried_out_twice" in capsys.readouterr().out


async def test_a_run_that_looks_like_it_but_has_lost_its_mark_is_a_doubt(make: Make) -> None:
    """The executor replaced the metadata: to start another would be a second run."""
    bench, api = await on_whole(make, on_doubt="resolve")

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation != "start_run":
            return None
        api.carry_out(operation, request)
        mission = api.simulator.world.mission(api.mission)
        mission.runs[-1].row["metadata"] = None
        return httpx.ReadError("reset")

    api.script = script
    bench.send(order("start_run"))
    result = await bench.final()
    assert result["status"] == "IN_DOUBT"
    assert "without the command's mark" in result["error"]["message"]
    assert api.done("start_run") == 1


async def test_a_mission_that_cannot_be_looked_at_is_a_doubt(make: Make) -> None:
    bench, api = await on_whole(make, on_doubt="resolve")

    def script(operation: str, _: httpx.Request) -> Any:
        if operation == "list_runs":
            return refusal(404)
        return httpx.ReadError("reset") if operation == "start_run" else None

    api.script = script
    bench.send(order("start_run"))
    result = await bench.final()
    assert result["status"] == "IN_DOUBT"
    assert "answered 404" in result["error"]["message"]
