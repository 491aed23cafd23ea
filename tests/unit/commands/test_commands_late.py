"""Requests that are given up, carried out within the settle time, and change nothing then.

What they ask for was so before, so that seeing it proves nothing; a later command of the key must
wait until they cannot come any more, or they undo it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from commands_api import PROVEN, WholeApi, on_whole, order
from commands_bench import Make

from bridge.commands.requests.effects import Effect, Nothing
from bridge.commands.requests.resolution import Wait, Watch
from bridge.config.types import VERBS
from bridge.dev.api.world import SimulatedRun

LATE = 30.0
"""Seconds; the settle time is 35."""


def run_of(api: WholeApi) -> SimulatedRun:
    return api.simulator.world.run(api.mission, api.run)


Case = tuple[dict[str, Any], dict[str, Any], Callable[[WholeApi], bool]]

CASES: dict[str, Case] = {
    "a resume, then a pause": (
        order("resume_run", run_id=WholeApi.run),
        order("pause_run", "c2"),
        lambda api: run_of(api).row["status"] == "paused",
    ),
    "a link, then the end of it": (
        order("link_agent", body={"telnyx_agent_id": "assistant-1"}),
        order("unlink_agent", "c2"),
        lambda api: "assistant-1" not in run_of(api).agents,
    ),
    "an update of a run, then another": (
        order("update_run", body={"status": "running"}),
        order("update_run", "c2"),
        lambda api: run_of(api).row["status"] == "failed",
    ),
    "an update of a mission, then another": (
        order("update_mission", body={"name": "calls"}),
        order("update_mission", "c2"),
        lambda api: api.simulator.world.mission(api.mission).row["name"] == "other",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_late_request_does_not_undo_a_later_command(make: Make, case: str) -> None:
    first, second, is_done = CASES[case]
    bench, api = await on_whole(make)
    held: list[httpx.Request] = []
    began = bench.clock.time

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation == first["type"] and not held:
            held.append(request)
            return httpx.ReadError("reset")
        if len(held) == 1 and bench.clock.time > began + LATE:
            held.append(request)
            api.carry_out(operation, held[0])
        return None

    api.script = script
    bench.send(first)
    bench.send(second)
    told = [(one["command_id"], one["status"], one["final"]) for one in await bench.results(3)]
    assert told == [
        ("c1", "IN_DOUBT", False),
        ("c1", "SUCCEEDED", True),
        ("c2", "SUCCEEDED", True),
    ]
    assert len(held) == 2, "it came late"
    assert is_done(api)


def test_absence_is_proven_anew_after_a_sight_of_what_was_ordered() -> None:
    """Somebody set it and took it back: what was absent before that says nothing any more."""
    watch, nothing = Watch(since=0.0, settle=35.0), Nothing("not there", certain=True)
    assert watch.conclude(nothing, 0.0) == Wait(35.0)
    assert watch.conclude(Effect("run"), 20.0) == Wait(55.0)
    assert watch.conclude(nothing, 35.0) == Wait(70.0)
    assert watch.conclude(nothing, 70.0) == nothing


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "clone_mission"])
async def test_what_may_have_been_so_before_counts_a_settle_time_later(
    make: Make, verb: str
) -> None:
    bench, api = await on_whole(make)
    asked: list[float] = []

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation != verb:
            return None
        asked.append(bench.clock.time)
        api.carry_out(operation, request)
        return httpx.ReadError("reset")

    api.script = script
    bench.send(order(verb))
    result = await bench.final()
    assert (result["status"], len(asked)) == ("SUCCEEDED", 1)
    assert round(bench.clock.time - asked[0]) == (0 if verb in PROVEN else 35)
