"""The official SDK works against the simulator with nothing changed but its base URL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import telnyx
from telnyx.resources.ai.missions import AsyncMissionsResource

from bridge.clock import Clock
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.http import serving
from bridge.dev.api.operations import OPERATIONS
from bridge.dev.api.simulator import Simulator


@contextlib.asynccontextmanager
async def sdk(simulator: Simulator) -> AsyncIterator[telnyx.AsyncTelnyx]:
    async with serving(simulator.app) as url:
        client = telnyx.AsyncTelnyx(api_key="KEY", base_url=f"{url}/v2", max_retries=0)
        async with client:
            yield client


def a_simulator(events: int = 0) -> Simulator:
    return Simulator(clock=Clock(), events=events, behaviour=Behaviour(autorun=True))


async def test_every_operation_of_the_sdk_is_answered_in_its_own_types() -> None:
    simulator = a_simulator()
    async with sdk(simulator) as client:
        missions = client.ai.missions
        mission_id = await drive_missions(missions)
        run_id = await drive_runs(missions, mission_id)
        await drive_events(missions, mission_id, run_id)
        await drive_plan(missions, mission_id, run_id)
        await drive_agents(missions, mission_id, run_id)
        await missions.delete_mission(mission_id)
        with pytest.raises(telnyx.NotFoundError):
            await missions.retrieve(mission_id)
    asked = simulator.ledger()["requests"]
    assert set(asked) == set(OPERATIONS)
    assert all(any(status.startswith("2") for status in seen) for seen in asked.values())


async def drive_missions(missions: AsyncMissionsResource) -> str:
    made = (
        await missions.create(
            name="Call leads",
            description="All of them",
            execution_mode="managed",
            instructions="Be kind",
            model="m",
            metadata={"team": "blue"},
        )
    ).data
    assert made is not None
    assert (made.name, made.execution_mode, made.metadata) == (
        "Call leads",
        "managed",
        {"team": "blue"},
    )
    read = (await missions.retrieve(made.mission_id)).data
    assert read == made
    changed = (await missions.update_mission(made.mission_id, description="Some of them")).data
    assert (changed.name, changed.description) == ("Call leads", "Some of them")
    copy = await missions.clone_mission(made.mission_id)
    assert isinstance(copy, dict)
    assert copy["data"]["mission_id"] != made.mission_id
    listed = [mission.mission_id async for mission in missions.list(page_size=1)]
    assert listed == [copy["data"]["mission_id"], made.mission_id]
    return made.mission_id


async def drive_runs(missions: AsyncMissionsResource, mission_id: str) -> str:
    runs = missions.runs
    run = (await runs.create(mission_id, input={"n": 1}, metadata={"k": "v"})).data
    assert (run.status, run.input, run.metadata) == ("pending", {"n": 1}, {"k": "v"})
    assert run.finished_at is None
    assert (await runs.retrieve(run.run_id, mission_id=mission_id)).data.status == "running"
    assert (await runs.pause_run(run.run_id, mission_id=mission_id)).data.status == "paused"
    assert (await runs.resume_run(run.run_id, mission_id=mission_id)).data.status == "running"
    patched = await runs.update(
        run.run_id, mission_id=mission_id, result_summary="Half way", result_payload={"done": 0.5}
    )
    assert patched.data.result_payload == {"done": 0.5}
    assert patched.data.updated_at == run.updated_at
    other = (await runs.create(mission_id)).data
    cancelled = (await runs.cancel_run(other.run_id, mission_id=mission_id)).data
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    of_mission = [r.run_id async for r in runs.list(mission_id, status="running")]
    assert of_mission == [run.run_id]
    recent = [r.run_id async for r in runs.list_runs(page_size=1)]
    assert recent == [other.run_id, run.run_id]
    return run.run_id


async def drive_events(missions: AsyncMissionsResource, mission_id: str, run_id: str) -> None:
    events = missions.runs.events
    logged = (
        await events.log(
            run_id,
            mission_id=mission_id,
            type="tool_call",
            summary="Dial",
            step_id="dial",
            agent_id="me",
            payload={"to": "+1"},
            idempotency_key="once",
        )
    ).data
    again = await events.log(
        run_id,
        mission_id=mission_id,
        type="tool_call",
        summary="Dial",
        idempotency_key="once",
    )
    assert again.data == logged
    detail = await events.get_event_details(logged.event_id, mission_id=mission_id, run_id=run_id)
    assert detail.data == logged
    of_run = [e async for e in events.list(run_id, mission_id=mission_id, type="tool_call")]
    assert of_run == [logged]
    assert [e async for e in missions.list_events(page_size=1000)] == [logged]


async def drive_plan(missions: AsyncMissionsResource, mission_id: str, run_id: str) -> None:
    plan = missions.runs.plan
    first = await plan.create(
        run_id,
        mission_id=mission_id,
        steps=[{"step_id": "dial", "description": "Dial", "sequence": 1}],
    )
    assert [step.status for step in first.data] == ["pending"]
    await plan.add_steps_to_plan(
        run_id,
        mission_id=mission_id,
        steps=[
            {"step_id": "talk", "description": "T", "sequence": 2, "parent_step_id": "dial"},
        ],
    )
    whole = await plan.retrieve(run_id, mission_id=mission_id)
    assert [step.step_id for step in whole.data] == ["dial", "talk"]
    step = await plan.update_step(
        "dial", mission_id=mission_id, run_id=run_id, status="in_progress"
    )
    assert step.data.started_at is not None
    read = await plan.get_step_details("dial", mission_id=mission_id, run_id=run_id)
    assert read.data == step.data


async def drive_agents(missions: AsyncMissionsResource, mission_id: str, run_id: str) -> None:
    agents = missions.runs.telnyx_agents
    agent_id = f"assistant-{uuid4()}"
    linked = await agents.link(run_id, mission_id=mission_id, telnyx_agent_id=agent_id)
    listed = await agents.list(run_id, mission_id=mission_id)
    assert listed.data == [linked.data]
    await agents.unlink(agent_id, mission_id=mission_id, run_id=run_id)
    assert (await agents.list(run_id, mission_id=mission_id)).data == []


async def test_the_fifteen_operations_without_public_shapes_are_not_found() -> None:
    async with sdk(a_simulator()) as client:
        missions = client.ai.missions
        mission_id = (await missions.create(name="m")).data.mission_id
        tools, bases, servers = missions.tools, missions.knowledge_bases, missions.mcp_servers
        calls = [
            tools.list_tools(mission_id),
            tools.create_tool(mission_id),
            tools.get_tool("x", mission_id=mission_id),
            tools.update_tool("x", mission_id=mission_id),
            tools.delete_tool("x", mission_id=mission_id),
            bases.list_knowledge_bases(mission_id),
            bases.create_knowledge_base(mission_id),
            bases.get_knowledge_base("x", mission_id=mission_id),
            bases.update_knowledge_base("x", mission_id=mission_id),
            bases.delete_knowledge_base("x", mission_id=mission_id),
            servers.list_mcp_servers(mission_id),
            servers.create_mcp_server(mission_id),
            servers.get_mcp_server("x", mission_id=mission_id),
            servers.update_mcp_server("x", mission_id=mission_id),
            servers.delete_mcp_server("x", mission_id=mission_id),
        ]
        for call in calls:
            with pytest.raises(telnyx.NotFoundError) as refused:
                await call
            assert isinstance(refused.value.body, dict)
            assert refused.value.body["errors"][0]["code"] == "10005"


async def test_the_base_url_variable_alone_points_the_sdk_at_the_simulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator = a_simulator(events=2_500)
    async with serving(simulator.app) as url:
        monkeypatch.setenv("TELNYX_BASE_URL", f"{url}/v2")
        monkeypatch.setenv("TELNYX_API_KEY", "KEY")

        def read_all() -> list[str]:
            with telnyx.Telnyx() as client:
                pages = client.ai.missions.list_events(page_size=1000)
                return [event.event_id for event in pages]

        ids = await asyncio.to_thread(read_all)
    assert len(set(ids)) == len(ids) == 2_500
    assert {UUID(event_id).version for event_id in ids} == {4}


async def test_the_sdk_understands_a_refused_key_and_an_invalid_body() -> None:
    simulator = Simulator(clock=Clock(), api_key="another")
    async with sdk(simulator) as client:
        with pytest.raises(telnyx.AuthenticationError):
            await client.ai.missions.list()
    simulator = Simulator(clock=Clock(), behaviour=Behaviour(error_form="fastapi"))
    async with sdk(simulator) as client:
        with pytest.raises(telnyx.UnprocessableEntityError):
            await client.ai.missions.create(name=7)  # type: ignore[arg-type]
