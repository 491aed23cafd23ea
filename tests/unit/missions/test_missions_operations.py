"""Each of the 26 operations asks as documented, and only reads are repeated."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from missions_fakes import (
    BASE,
    MISSION,
    RUN,
    FakeClock,
    agent,
    answering,
    client_on,
    event,
    mission,
    ok,
    page,
    run,
    step,
)

from bridge import metrics
from bridge.errors import (
    ApiError,
)
from bridge.missions.client import MissionsClient
from bridge.missions.models import (
    AddSteps,
    CreateMission,
    CreatePlan,
    EventType,
    LinkAgent,
    LogEvent,
    NewStep,
    RunStatus,
    StartRun,
    StepStatus,
    UpdateMission,
    UpdateRun,
    UpdateStep,
)

pytestmark = pytest.mark.usefixtures("at_once")

Call = Callable[[MissionsClient], Awaitable[Any]]

M = f"/{MISSION}"
R = f"/{MISSION}/runs/{RUN}"
STEPS = (NewStep(step_id="s-1", description="call", sequence=1),)
STEPS_JSON = {"steps": [{"step_id": "s-1", "description": "call", "sequence": 1}]}
ONE_PAGE = "?page%5Bnumber%5D=1&page%5Bsize%5D=1000"
NO_CONTENT = httpx.Response(204)

READS: list[tuple[str, Call, str, httpx.Response]] = [
    ("list_missions", lambda c: c.list_missions(), ONE_PAGE, page([mission()])),
    ("get_mission", lambda c: c.get_mission(MISSION), M, ok({"data": mission()})),
    ("list_events", lambda c: c.list_events(), "/events" + ONE_PAGE, page([event()])),
    ("list_recent_runs", lambda c: c.list_recent_runs(), "/runs" + ONE_PAGE, page([run()])),
    ("list_runs", lambda c: c.list_runs(MISSION), M + "/runs" + ONE_PAGE, page([run()])),
    ("get_run", lambda c: c.get_run(MISSION, RUN), R, ok({"data": run()})),
    (
        "list_run_events",
        lambda c: c.list_run_events(MISSION, RUN),
        R + "/events" + ONE_PAGE,
        page([event()]),
    ),
    ("get_event", lambda c: c.get_event(MISSION, RUN, "e_1"), R + "/events/e_1",
     ok({"data": event()})),
    ("get_plan", lambda c: c.get_plan(MISSION, RUN), R + "/plan", ok({"data": [step()]})),
    ("get_step", lambda c: c.get_step(MISSION, RUN, "s-1"), R + "/plan/steps/s-1",
     ok({"data": step()})),
    ("list_agents", lambda c: c.list_agents(MISSION, RUN), R + "/telnyx-agents",
     ok({"data": [agent()]})),
]  # fmt: skip

WRITES: list[tuple[str, Call, str, str, Any, httpx.Response]] = [
    ("create_mission", lambda c: c.create_mission(CreateMission(name="n")), "POST", "",
     {"name": "n"}, ok({"data": mission()}, 201)),
    ("update_mission", lambda c: c.update_mission(MISSION, UpdateMission(model="m")), "PUT", M,
     {"model": "m"}, ok({"data": mission()})),
    ("delete_mission", lambda c: c.delete_mission(MISSION), "DELETE", M, None, NO_CONTENT),
    ("clone_mission", lambda c: c.clone_mission(MISSION), "POST", M + "/clone", None,
     ok({"data": mission()}, 201)),
    ("start_run", lambda c: c.start_run(MISSION, StartRun(input={"a": None})), "POST", M + "/runs",
     {"input": {"a": None}}, ok({"data": run()}, 201)),
    ("update_run", lambda c: c.update_run(MISSION, RUN, UpdateRun(status=RunStatus.RUNNING)),
     "PATCH", R, {"status": "running"}, ok({"data": run()})),
    ("cancel_run", lambda c: c.cancel_run(MISSION, RUN), "POST", R + "/cancel", None,
     ok({"data": run()})),
    ("pause_run", lambda c: c.pause_run(MISSION, RUN), "POST", R + "/pause", None,
     ok({"data": run()})),
    ("resume_run", lambda c: c.resume_run(MISSION, RUN), "POST", R + "/resume", None,
     ok({"data": run()})),
    ("log_event",
     lambda c: c.log_event(MISSION, RUN, LogEvent(type=EventType.CUSTOM, summary="s")),
     "POST", R + "/events", {"type": "custom", "summary": "s"}, ok({"data": event()}, 201)),
    ("create_plan", lambda c: c.create_plan(MISSION, RUN, CreatePlan(steps=STEPS)), "POST",
     R + "/plan", STEPS_JSON, ok({"data": [step()]}, 201)),
    ("add_steps", lambda c: c.add_steps(MISSION, RUN, AddSteps(steps=STEPS)), "POST",
     R + "/plan/steps", STEPS_JSON, ok({"data": [step()]}, 201)),
    ("update_step",
     lambda c: c.update_step(MISSION, RUN, "s-1", UpdateStep(status=StepStatus.COMPLETED)),
     "PATCH", R + "/plan/steps/s-1", {"status": "completed"}, ok({"data": step()})),
    ("link_agent", lambda c: c.link_agent(MISSION, RUN, LinkAgent(telnyx_agent_id="assistant-1")),
     "POST", R + "/telnyx-agents", {"telnyx_agent_id": "assistant-1"}, ok({"data": agent()}, 201)),
    ("unlink_agent", lambda c: c.unlink_agent(MISSION, RUN, "assistant-1"), "DELETE",
     R + "/telnyx-agents/assistant-1", None, NO_CONTENT),
]  # fmt: skip


def counted(operation: str, status: str) -> float:
    labels = {"operation": operation, "status": status}
    return metrics.METRICS.get_sample_value("bridge_api_requests_total", labels) or 0.0


def test_all_26_operations_are_here() -> None:
    assert len(READS) + len(WRITES) == 26


@pytest.mark.parametrize(("name", "call", "target", "answer"), READS, ids=[r[0] for r in READS])
async def test_a_read_asks_as_documented_and_understands_the_answer(
    name: str, call: Call, target: str, answer: httpx.Response
) -> None:
    handler, seen = answering(answer)
    before = counted(name, "200")
    async with client_on(handler) as client:
        value = await call(client)

    (request,) = seen
    assert (request.method, str(request.url)) == ("GET", f"{BASE}/ai/missions{target}")
    assert request.content == b""
    assert value
    assert counted(name, "200") == before + 1


@pytest.mark.parametrize(
    ("call", "method", "target", "body", "answer"),
    [write[1:] for write in WRITES],
    ids=[write[0] for write in WRITES],
)
async def test_a_write_asks_as_documented_and_keeps_the_answer_as_received(
    call: Call, method: str, target: str, body: Any, answer: httpx.Response
) -> None:
    handler, seen = answering(answer)
    async with client_on(handler) as client:
        given = await call(client)

    (request,) = seen
    assert (request.method, str(request.url)) == (method, f"{BASE}/ai/missions{target}")
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers.get("content-type") == (None if body is None else "application/json")
    assert (given.status, given.text) == (answer.status_code, answer.text)
    assert (given.value is None) == (answer.status_code == 204)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
        httpx.Response(500),
        httpx.Response(408),
        httpx.Response(200, text="<html>"),
        httpx.Response(429, headers={"retry-after": "1"}),
    ],
    ids=repr,
)
async def test_a_read_is_repeated_where_a_write_is_not(
    trouble: httpx.Response | Exception,
) -> None:
    handler, seen = answering(trouble, ok({"data": run()}))
    async with client_on(handler, clock=FakeClock()) as client:
        assert (await client.get_run(MISSION, RUN)).run_id == RUN
        assert len(seen) == 2

        for _, call, *_ in WRITES:
            handler, seen = answering(trouble)
            client._wire._http = httpx.AsyncClient(transport=httpx.MockTransport(handler))
            with pytest.raises(ApiError):
                await call(client)
            assert len(seen) == 1
