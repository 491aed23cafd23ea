"""Each verb: carried out, found where its answer was lost, repeated where that is safe, refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from commands_api import PROVEN, SURE, WholeApi, lose, on_whole, order
from commands_bench import RESULTS, Make
from commands_world import refusal

from bridge.config.types import VERBS

SETTLE = 35.0


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_is_carried_out(make: Make, verb: str) -> None:
    bench, api = await on_whole(make)
    bench.send(order(verb))
    (result,) = await bench.results(1)
    assert (result["status"], result["final"], result["error"]) == ("SUCCEEDED", True, None)
    assert result["attempts"] == 1
    assert api.done(verb) == 1
    if verb in ("create_mission", "clone_mission"):
        assert result["mission_id"] in result["response"]
        assert result["mission_id"] != api.mission


@pytest.mark.parametrize("verb", VERBS)
async def test_an_effect_whose_answer_was_lost_is_found(make: Make, verb: str) -> None:
    bench, api = await on_whole(make)
    lose(bench, verb, effect=True)
    bench.send(order(verb))
    result = await bench.final()
    assert api.done(verb) == 1
    assert len(await bench.read(RESULTS)) == (1 if verb in PROVEN else 2)
    if verb == "clone_mission":
        assert result["status"] == "IN_DOUBT"
        assert "carries no mark" in result["error"]["message"]
    else:
        assert (result["status"], result["error"]) == ("SUCCEEDED", None)
        assert result["resolved_by"]
        assert result["attempts"] == 1


@pytest.mark.parametrize("policy", ["strict", "resolve"])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_request_that_was_lost_is_repeated_where_that_is_safe_or_wanted(
    make: Make, verb: str, policy: str
) -> None:
    bench, api = await on_whole(make, on_doubt=policy)
    lose(bench, verb, effect=False)
    bench.send(order(verb))
    result = await bench.final()
    told = [r["status"] for r in await bench.read(RESULTS) if not r["final"]]
    gives_up = verb == "clone_mission" or (verb in SURE and policy == "strict")
    assert result["status"] == ("IN_DOUBT" if gives_up else "SUCCEEDED")
    assert api.done(verb) == (0 if gives_up else 1)
    assert result["attempts"] == (1 if gives_up else 2)
    at_once = verb in ("cancel_run", "delete_mission")
    assert told == ([] if at_once else ["IN_DOUBT"])


def _unlink(api: WholeApi) -> None:
    run = api.simulator.world.run(api.mission, api.run)
    api.simulator.world.unlink_agent(run, "assistant-1")


def _delete(api: WholeApi) -> None:
    world = api.simulator.world
    world.delete_mission(world.mission(api.mission), 0)


REFUSED: list[tuple[str, Callable[[WholeApi], None], str]] = [
    ("link_agent", lambda _: None, "REJECTED"),
    ("unlink_agent", _unlink, "ALREADY_DONE"),
    ("delete_mission", _delete, "ALREADY_DONE"),
]


@pytest.mark.parametrize(("verb", "before", "status"), REFUSED)
async def test_a_refusal_of_what_is_so_already_is_no_failure(
    make: Make, verb: str, before: Callable[[WholeApi], None], status: str
) -> None:
    bench, api = await on_whole(make)
    before(api)
    if verb == "link_agent":
        api.script = lambda operation, _: refusal(422) if operation == verb else None
    bench.send(order(verb))
    result = await bench.final()
    assert result["status"] == status
    assert result["http_status"] in (404, 422)


async def test_a_refused_repetition_is_not_rejected_on_an_old_picture(make: Make) -> None:
    """The first cancel was carried out, which is why the second is refused; reads lag behind."""
    bench, api = await on_whole(make)
    lose(bench, "cancel_run", effect=True)
    losing = api.script
    began = bench.clock.time

    def script(operation: str, request: httpx.Request) -> Any:
        if operation == "get_run" and bench.clock.time < began + SETTLE:
            old = api.carry_out(operation, request).json()
            old["data"]["status"] = "running"
            return httpx.Response(200, json=old)
        return losing(operation, request) if losing is not None else None

    api.script = script
    bench.send(order("cancel_run"))
    result = await bench.final()
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "run")
    assert api.done("cancel_run") == 1


async def test_a_refused_repetition_of_what_had_no_effect_is_rejected(make: Make) -> None:
    bench, api = await on_whole(make)
    answers = [httpx.ReadError("reset"), refusal(409)]
    api.script = lambda operation, _: answers.pop(0) if operation == "cancel_run" else None
    bench.send(order("cancel_run"))
    result = await bench.final()
    assert (result["status"], result["http_status"]) == ("REJECTED", 409)
    assert not answers
