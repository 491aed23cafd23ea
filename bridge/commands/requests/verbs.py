"""Verbs as requests to the Missions API: what each sends, and what it makes.

Only `call` reaches the network. A verb has its body in `request`, its call in `call`, what its
answers mean in `judgement.py`, and in `sight.py` how its effect is recognized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bridge.commands.model import Command, Verb
from bridge.errors import InvalidRecord
from bridge.missions import ids, jsontext
from bridge.missions.client import MissionsClient
from bridge.missions.models import (
    AddSteps,
    Answer,
    CreateMission,
    CreatePlan,
    LinkAgent,
    LogEvent,
    Mission,
    NewStep,
    RequestBody,
    Run,
    StartRun,
    UpdateMission,
    UpdateRun,
    UpdateStep,
)

MARK = "bridge_command_id"
"""Field in the metadata of missions and runs, and the payload of events, that the bridge made."""


def request(command: Command) -> RequestBody | None:
    """Return the body of the command's request, None where it has none.

    Free objects are read so that their numbers are sent exactly as received. Raises
    InvalidRecord("invalid") for a body that the API has no use for, and InvalidId.
    """
    try:
        return _request(command)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRecord("invalid", f"body.{where}: {first['msg']}") from error


def _request(command: Command) -> RequestBody | None:  # noqa: C901, PLR0911 - a case for each verb
    body, mark = command.body, {MARK: command.command_id}
    match command.type:
        case Verb.CREATE_MISSION:
            metadata = (_marked(body, "metadata") or {}) | mark
            return CreateMission(**{**body, "metadata": metadata})
        case Verb.UPDATE_MISSION:
            return UpdateMission(**{**body, "metadata": _marked(body, "metadata")})
        case Verb.START_RUN:
            metadata = (_marked(body, "metadata") or {}) | mark
            return StartRun(input=_object(body, "input"), metadata=metadata)
        case Verb.UPDATE_RUN:
            free = {"result_payload": _object(body, "result_payload")}
            return UpdateRun(**{**body, **free, "metadata": _marked(body, "metadata")})
        case Verb.LOG_EVENT:
            payload = (_marked(body, "payload") or {}) | mark
            own = {"payload": payload, "idempotency_key": command.command_id}
            return LogEvent(**{**body, **own})
        case Verb.CREATE_PLAN:
            return CreatePlan(steps=_steps(body))
        case Verb.ADD_STEPS:
            return AddSteps(steps=_steps(body))
        case Verb.UPDATE_STEP:
            ids.name("body.step_id", body["step_id"])
            return UpdateStep(status=body["status"], metadata=_marked(body, "metadata"))
        case Verb.LINK_AGENT:
            ids.name("body.telnyx_agent_id", body["telnyx_agent_id"])
            return LinkAgent(telnyx_agent_id=body["telnyx_agent_id"])
        case Verb.UNLINK_AGENT:
            ids.name("body.telnyx_agent_id", body["telnyx_agent_id"])
    return None


async def call(  # noqa: C901, PLR0911, PLR0912 - a case for each verb
    client: MissionsClient, command: Command
) -> Answer[Any]:
    """Send the command's one request; it raises what the client raises."""
    mission, run, body = command.mission_id or "", command.run_id or "", request(command)
    match command.type, body:
        case Verb.CREATE_MISSION, CreateMission():
            return await client.create_mission(body)
        case Verb.UPDATE_MISSION, UpdateMission():
            return await client.update_mission(mission, body)
        case Verb.DELETE_MISSION, _:
            return await client.delete_mission(mission)
        case Verb.CLONE_MISSION, _:
            return await client.clone_mission(mission)
        case Verb.START_RUN, StartRun():
            return await client.start_run(mission, body)
        case Verb.UPDATE_RUN, UpdateRun():
            return await client.update_run(mission, run, body)
        case Verb.CANCEL_RUN, _:
            return await client.cancel_run(mission, run)
        case Verb.PAUSE_RUN, _:
            return await client.pause_run(mission, run)
        case Verb.RESUME_RUN, _:
            return await client.resume_run(mission, run)
        case Verb.LOG_EVENT, LogEvent():
            return await client.log_event(mission, run, body)
        case Verb.CREATE_PLAN, CreatePlan():
            return await client.create_plan(mission, run, body)
        case Verb.ADD_STEPS, AddSteps():
            return await client.add_steps(mission, run, body)
        case Verb.UPDATE_STEP, UpdateStep():
            return await client.update_step(mission, run, command.body["step_id"], body)
        case Verb.LINK_AGENT, LinkAgent():
            return await client.link_agent(mission, run, body)
        case Verb.UNLINK_AGENT, _:
            return await client.unlink_agent(mission, run, command.body["telnyx_agent_id"])
    raise AssertionError(f"{command.type} passed the policy and has no call")


def new_ids(command: Command, made: object) -> dict[str, str]:
    """Return the id of what the command made, as a field of its outcome."""
    match command.type, made:
        case Verb.CREATE_MISSION | Verb.CLONE_MISSION, Mission():
            return {"mission_id": made.mission_id}
        case Verb.START_RUN, Run():
            return {"run_id": made.run_id}
    return {}


def _steps(body: Mapping[str, Any]) -> tuple[NewStep, ...]:
    for number, step in enumerate(body["steps"]):
        ids.name(f"body.steps.{number}.step_id", step["step_id"])
        if step["parent_step_id"] is not None:
            ids.name(f"body.steps.{number}.parent_step_id", step["parent_step_id"])
    return tuple(
        NewStep(**{**step, "metadata": _marked(step, "metadata")}) for step in body["steps"]
    )


def _marked(body: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    """Return a free object in which the bridge itself puts its mark, or looks for it."""
    value = _object(body, field)
    if value is not None and MARK in value:
        what = f"body.{field}.{MARK} is the bridge's own mark: leave it out"
        raise InvalidRecord("invalid", what)
    return value


def _object(body: Mapping[str, Any], field: str) -> dict[str, Any] | None:
    text = body[field]
    if text is None:
        return None
    try:
        value = jsontext.loads(text)
    except ValueError as error:
        raise InvalidRecord("invalid", f"body.{field} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRecord("invalid", f"body.{field} must be a JSON object")
    return value
