"""The Missions API's objects: answers keep what they do not know, requests have the API's names.

The API marks nothing as nullable and yet sends null for what is absent, so each field of an answer
but the ids that name the object may be absent or null. Enumerations are closed in requests and open
in answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, StringConstraints

from bridge.clock import Micros
from bridge.missions import jsontext

T = TypeVar("T")
JsonObject = dict[str, Any]

# Any constraint makes pydantic look at the characters, and so refuse lone surrogates: text in
# answers can always be encoded, for Avro, keys and headers alike.
Text = Annotated[str, StringConstraints(min_length=0)]


class EventType(StrEnum):
    """The event types that the API documents; answers may carry others."""

    STATUS_CHANGE = "status_change"
    STEP_STARTED = "step_started"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    MESSAGE = "message"
    ERROR = "error"
    CUSTOM = "custom"


class RunStatus(StrEnum):
    """The states of a run."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class StepStatus(StrEnum):
    """The states of a plan step."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"


class ExecutionMode(StrEnum):
    """Who executes a mission's runs; the API takes `external` when nothing is said."""

    EXTERNAL = "external"
    MANAGED = "managed"


class ApiObject(BaseModel):
    """An object of an answer; `model_extra` holds the fields that this version does not know."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened in a run; `timestamp` is the text as received.

    `payload` is JSON text as received. `extra` is the text of an object with the fields that this
    version does not know, sorted by name. Both None: absent or null.
    """

    event_id: str
    run_id: str
    type: str
    timestamp: str
    summary: str = ""
    step_id: str | None = None
    agent_id: str | None = None
    idempotency_key: str | None = None
    payload: str | None = None
    extra: str | None = None

    def text(self) -> str:
        """Return it as JSON text, without what is absent."""
        fields = msgspec.structs.asdict(self)
        shown = {name: value for name, value in fields.items() if value is not None}
        shown.pop("extra", None)
        if self.payload is not None:
            shown["payload"] = jsontext.Raw(self.payload)
        text = jsontext.dumps(shown)
        return text if self.extra is None else f"{text[:-1]},{self.extra[1:]}"


class Run(ApiObject):
    """One execution of a mission. `updated_at` does not move with every change."""

    run_id: Text
    mission_id: Text | None = None
    status: Text | None = None
    started_at: Text | None = None
    updated_at: Text | None = None
    finished_at: Text | None = None
    input: JsonObject | None = None
    result_summary: Text | None = None
    result_payload: JsonObject | None = None
    error: Text | None = None
    metadata: JsonObject | None = None


class Mission(ApiObject):
    """The definition that runs are started from."""

    mission_id: Text
    name: Text | None = None
    execution_mode: Text | None = None
    created_at: Text | None = None
    updated_at: Text | None = None
    description: Text | None = None
    model: Text | None = None
    instructions: Text | None = None
    metadata: JsonObject | None = None


class PlanStep(ApiObject):
    """One step of a run's plan; the caller chose its `step_id`."""

    step_id: Text
    run_id: Text | None = None
    sequence: int | None = None
    description: Text | None = None
    status: Text | None = None
    parent_step_id: Text | None = None
    started_at: Text | None = None
    completed_at: Text | None = None
    metadata: JsonObject | None = None


class Agent(ApiObject):
    """A Telnyx agent linked to a run."""

    telnyx_agent_id: Text
    run_id: Text | None = None
    created_at: Text | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An element of a list that is none of its objects; it keeps its place in the list.

    `jsontext.dumps(raw)` gives its text back, also where it is no JSON (then `raw` is a Raw).
    """

    raw: Any
    error: str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, with all its rows.

    `number` is the page that was asked for, `size` the page size that the server says it used,
    never less than its rows. The totals are the server's hints; each is None where it says nothing
    usable. `date` is its clock (Date header), `age` the seconds a cache kept the answer (Age
    header); both None when absent. `sent` is the monotonic time of the request, `took` the seconds
    until the whole answer was there.
    """

    items: tuple[T, ...]
    number: int
    size: int | None
    total_pages: int | None
    total_results: int | None
    date: Micros | None
    age: int | None
    sent: float
    took: float


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A carried-out write: its result, the HTTP status and the body as received."""

    value: T
    status: int
    text: str


class RequestBody(BaseModel):
    """The body of a request; None means absent."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def text(self) -> str:
        """Return the body as JSON; nulls inside free objects stay."""
        return jsontext.dumps(self.model_dump(exclude_none=True))


class UpdateMission(RequestBody):
    """What may be changed of a mission; the API replaces the definition by it."""

    name: str | None = None
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    execution_mode: ExecutionMode | None = None
    metadata: JsonObject | None = None


class CreateMission(RequestBody):
    """A new mission."""

    name: str
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    execution_mode: ExecutionMode | None = None
    metadata: JsonObject | None = None


class StartRun(RequestBody):
    """A new run."""

    input: JsonObject | None = None
    metadata: JsonObject | None = None


class UpdateRun(RequestBody):
    """What may be changed of a run."""

    status: RunStatus | None = None
    result_summary: str | None = None
    result_payload: JsonObject | None = None
    error: str | None = None
    metadata: JsonObject | None = None


class LogEvent(RequestBody):
    """A new event; the API promises no second event for the same `idempotency_key`."""

    type: EventType
    summary: str
    step_id: str | None = None
    agent_id: str | None = None
    payload: JsonObject | None = None
    idempotency_key: str | None = None


class NewStep(RequestBody):
    """A step to be planned."""

    step_id: str
    description: str
    sequence: int
    parent_step_id: str | None = None
    metadata: JsonObject | None = None


class CreatePlan(RequestBody):
    """The first plan of a run."""

    steps: tuple[NewStep, ...]


class AddSteps(RequestBody):
    """More steps for a run's plan."""

    steps: tuple[NewStep, ...]


class UpdateStep(RequestBody):
    """What may be changed of a plan step."""

    status: StepStatus | None = None
    metadata: JsonObject | None = None


class LinkAgent(RequestBody):
    """An agent to be linked to a run."""

    telnyx_agent_id: str
