"""What the API accepts in requests: bodies, ids and page numbers.

The models follow the public contract and know nothing of the bridge's own client, so that the two
can disagree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.dev.api.answers import ApiProblem, Invalid, Row

_NEVER_NULL = frozenset({"name", "execution_mode", "status"})
"""Fields that cannot be unset: null means that they are left out."""

_Object = dict[str, Any] | None
_Mode = Literal["external", "managed"]
_RunStatus = Literal["pending", "running", "paused", "succeeded", "failed", "cancelled"]
_StepStatus = Literal["pending", "in_progress", "completed", "skipped", "failed"]
_EventType = Literal[
    "status_change",
    "step_started",
    "step_completed",
    "step_failed",
    "tool_call",
    "tool_result",
    "message",
    "error",
    "custom",
]


class CreateMissionBody(BaseModel):
    """POST /ai/missions."""

    name: str
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    execution_mode: _Mode | None = None
    metadata: _Object = None


class UpdateMissionBody(BaseModel):
    """PUT /ai/missions/{mission_id}."""

    name: str | None = None
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    execution_mode: _Mode | None = None
    metadata: _Object = None


class StartRunBody(BaseModel):
    """POST .../runs; the body may be left out."""

    input: _Object = None
    metadata: _Object = None


class UpdateRunBody(BaseModel):
    """PATCH .../runs/{run_id}."""

    status: _RunStatus | None = None
    result_summary: str | None = None
    result_payload: _Object = None
    error: str | None = None
    metadata: _Object = None


class LogEventBody(BaseModel):
    """POST .../events."""

    type: _EventType
    summary: str
    step_id: str | None = None
    agent_id: str | None = None
    payload: _Object = None
    idempotency_key: str | None = None


class Step(BaseModel):
    """One step of a plan."""

    step_id: str
    description: str
    sequence: int
    parent_step_id: str | None = None
    metadata: _Object = None


class Steps(BaseModel):
    """POST .../plan and .../plan/steps."""

    steps: list[Step]


class UpdateStepBody(BaseModel):
    """PATCH .../plan/steps/{step_id}."""

    status: _StepStatus | None = None
    metadata: _Object = None


class LinkAgentBody(BaseModel):
    """POST .../telnyx-agents."""

    telnyx_agent_id: str


def read_body(model: type[BaseModel], body: bytes) -> Row:
    """The fields that a request sets, checked; raises Invalid with every mistake."""
    try:
        value = json.loads(body, parse_constant=_no_constant) if body else None
    except (ValueError, RecursionError) as error:
        raise Invalid(
            ApiProblem("10015", f"not JSON: {error}", ("body",), "json_invalid")
        ) from None
    if value is None and model is StartRunBody:
        value = {}
    try:
        fields = model.model_validate(value).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise Invalid(*map(_problem, error.errors())) from None
    return {name: v for name, v in fields.items() if v is not None or name not in _NEVER_NULL}


def read_page(query: Mapping[str, str], default_size: int) -> tuple[int, int]:
    """page[number] and page[size]; raises Invalid."""
    number = _integer(query, "page[number]", 1, None)
    size = _integer(query, "page[size]", default_size, 1000)
    return number, size


def check_uuid(name: str, value: str) -> None:
    """Refuse an id of a path that is no UUID."""
    try:
        UUID(value)
    except ValueError:
        problem = ApiProblem("10006", f"{name} must be a UUID", ("path", name), "uuid_parsing")
        raise Invalid(problem) from None


def _integer(query: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = query.get(name, str(default))
    place = ("query", name)
    try:
        value = int(text)
    except ValueError:
        problem = ApiProblem("10015", f"{name} must be an integer", place, "int_parsing")
        raise Invalid(problem) from None
    if value < 1:
        raise Invalid(
            ApiProblem("10015", f"{name} must be at least 1", place, "greater_than_equal")
        )
    if most is not None and value > most:
        raise Invalid(ApiProblem("10015", f"{name} must be <= {most}", place, "less_than_equal"))
    return value


def _problem(mistake: ErrorDetails) -> ApiProblem:
    code = "10004" if mistake["type"] == "missing" else "10015"
    return ApiProblem(code, mistake["msg"], ("body", *mistake["loc"]), mistake["type"])


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
