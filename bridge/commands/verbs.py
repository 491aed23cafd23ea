"""Verbs as calls of the Missions API, and what its answers mean for the command.

Only `call` and `status_of` reach the network, the rest is pure.
A verb is added by a body in `request`, a call in `call`, and its line in `_HOW_TO_SETTLE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from bridge.clock import Micros
from bridge.commands.model import Command, Entry, Outcome, Problem, Status, Verb
from bridge.errors import (
    AccessError,
    ApiError,
    ApiRejected,
    InvalidId,
    InvalidRecord,
    RateLimited,
)
from bridge.missions import jsontext
from bridge.missions.client import MissionsClient
from bridge.missions.models import Answer, LogEvent, Run, RunStatus, StartRun, UpdateRun

MARK = "bridge_command_id"
"""Field in the metadata of runs and the payload of events that the bridge made."""

SUPPORTED = frozenset(
    {
        Verb.START_RUN,
        Verb.UPDATE_RUN,
        Verb.CANCEL_RUN,
        Verb.PAUSE_RUN,
        Verb.RESUME_RUN,
        Verb.LOG_EVENT,
    }
)

WANTED = {
    Verb.PAUSE_RUN: RunStatus.PAUSED,
    Verb.RESUME_RUN: RunStatus.RUNNING,
    Verb.CANCEL_RUN: RunStatus.CANCELLED,
}
"""The status that makes a refused verb superfluous."""

_HOW_TO_SETTLE = {
    Verb.START_RUN: (
        "Look for metadata.bridge_command_id = {command_id} in the runs of mission {mission_id}:"
        " the run that has it is this command's. If none shows up within some minutes, send the"
        " order again under a new command_id."
    ),
    Verb.UPDATE_RUN: (
        "Read run {run_id} of mission {mission_id} and compare the fields; if they are not as"
        " ordered, send the order again under a new command_id."
    ),
    Verb.LOG_EVENT: (
        "Look for idempotency_key = {command_id} in the events of run {run_id}; if it is not"
        " there, send the order again under a new command_id."
    ),
} | {
    verb: (
        f"Read run {{run_id}} of mission {{mission_id}}: status {wanted.value} is what was asked"
        " for. If it is another, send the order again under a new command_id."
    )
    for verb, wanted in WANTED.items()
}

Request = StartRun | UpdateRun | LogEvent | None


@dataclass(frozen=True, slots=True)
class Settled:
    """The command has its outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Later:
    """Surely not carried out: try again, after `wait` seconds (None: back off).

    `counts`: whether it was an attempt.
    """

    reason: str
    wait: float | None = None
    counts: bool = True


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """Surely not carried out: the API refused the key, or this call to this key."""

    error: AccessError
    counts: bool = True


@dataclass(frozen=True, slots=True)
class LookAtRun:
    """Refused; whether that matters shows in the run's status."""

    refusal: ApiRejected


Verdict = Settled | Later | KeyRefused | LookAtRun


def request(command: Command) -> Request:
    """Return the body of the command's request, None where it has none.

    Free objects are read so that their numbers are sent exactly as received. Raises
    InvalidRecord("invalid") for a body that the API has no use for.
    """
    body = command.body
    mark = {MARK: command.command_id}
    try:
        match command.type:
            case Verb.START_RUN:
                metadata = _object(body, "metadata") or {}
                return StartRun(input=_object(body, "input"), metadata=metadata | mark)
            case Verb.UPDATE_RUN:
                free = {name: _object(body, name) for name in ("result_payload", "metadata")}
                return UpdateRun(**{**body, **free})
            case Verb.LOG_EVENT:
                payload = (_object(body, "payload") or {}) | mark
                own = {"payload": payload, "idempotency_key": command.command_id}
                return LogEvent(**{**body, **own})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRecord("invalid", f"body.{where}: {first['msg']}") from error
    return None


async def call(client: MissionsClient, command: Command) -> Answer[Any]:
    """Send the command's one request; it raises what the client raises."""
    mission, run = command.mission_id or "", command.run_id or ""
    body = request(command)
    match command.type, body:
        case Verb.START_RUN, StartRun():
            return await client.start_run(mission, body)
        case Verb.UPDATE_RUN, UpdateRun():
            return await client.update_run(mission, run, body)
        case Verb.LOG_EVENT, LogEvent():
            return await client.log_event(mission, run, body)
        case Verb.CANCEL_RUN, _:
            return await client.cancel_run(mission, run)
        case Verb.PAUSE_RUN, _:
            return await client.pause_run(mission, run)
        case Verb.RESUME_RUN, _:
            return await client.resume_run(mission, run)
    raise AssertionError(f"{command.type} passed the policy and has no call")


async def status_of(client: MissionsClient, command: Command) -> str:
    """Return the status of the command's run."""
    return (await client.get_run(command.mission_id or "", command.run_id or "")).status


def succeeded(command: Command, answer: Answer[Any], now: Micros) -> Outcome:
    """Return the outcome of an answered command; a new run's id goes into it."""
    started = answer.value if command.type == Verb.START_RUN else None
    return Outcome(
        Status.SUCCEEDED,
        now,
        http_status=answer.status,
        response=answer.text or None,
        run_id=started.run_id if isinstance(started, Run) else None,
    )


def judge(
    command: Command,
    entry: Entry,
    error: ApiError | AccessError | ApiRejected | InvalidId,
    now: Micros,
) -> Verdict:
    """Say what an error of the command's own request means for the command."""
    match error:
        case RateLimited():
            return Later(str(error), error.wait, counts=False)
        case ApiError(executed=False):
            return Later(str(error))
        case AccessError():
            return KeyRefused(error)
        case ApiRejected() if command.type in WANTED:
            return LookAtRun(error)
    match error:
        case ApiError():
            outcome = in_doubt(entry, str(error), now, error)
        case ApiRejected():
            outcome = rejected(error, now)
        case InvalidId():
            outcome = Outcome(Status.REJECTED, now, Problem("invalid", str(error)))
    return Settled(outcome)


def rejected(error: ApiRejected | AccessError, now: Micros) -> Outcome:
    """Return the outcome of a command that the API refused."""
    problem = Problem("api_rejected", str(error), error.body)
    return Outcome(Status.REJECTED, now, problem, http_status=error.status)


def looked_at(command: Command, refusal: ApiRejected, status: str, now: Micros) -> Outcome:
    """Return the outcome of a refused verb after its run was read."""
    if status == WANTED[Verb(command.type)]:
        return Outcome(Status.ALREADY_DONE, now, http_status=refusal.status)
    problem = Problem("api_rejected", f"{refusal}; the run is {status}", refusal.body)
    return Outcome(Status.REJECTED, now, problem, http_status=refusal.status)


def in_doubt(entry: Entry, seen: str, now: Micros, error: ApiError | None = None) -> Outcome:
    """Return the outcome of a request whose fate nobody knows, with the way to find out.

    `seen` is what was observed, without a full stop.
    """
    how = _HOW_TO_SETTLE[Verb(entry.type)].format(
        command_id=entry.command_id, mission_id=entry.mission_id, run_id=entry.run_id
    )
    message = f"{seen}. It may have been carried out, once, and is not repeated. {how}"
    body, status = (None, None) if error is None else (error.body, error.status)
    return Outcome(Status.IN_DOUBT, now, Problem("in_doubt", message, body), http_status=status)


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
