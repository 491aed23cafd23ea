"""What the API's answer to a command's own request means for the command. Pure.

A verdict says what to do next: the command is settled; the request surely had no effect and may be
made later; or nobody knows, and the effect must be looked for (`resolution.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.clock import Micros
from bridge.commands.model import Command, Doubt, Entry, Outcome, Problem, Status, Verb
from bridge.commands.requests import verbs
from bridge.commands.requests.effects import Effect, Sight
from bridge.errors import AccessError, ApiError, ApiRejected, InvalidId, RateLimited
from bridge.missions.models import Answer

STATES = frozenset(
    {
        Verb.PAUSE_RUN,
        Verb.RESUME_RUN,
        Verb.CANCEL_RUN,
        Verb.LINK_AGENT,
        Verb.UNLINK_AGENT,
        Verb.DELETE_MISSION,
    }
)
"""Verbs that ask for a state: refused, they may be superfluous."""

_SEND_AGAIN = "send the order again under a new command_id"
_READ_RUN = (
    "Read run {run_id} of mission {mission_id}: status %s is what was asked for. If it is another, "
    + _SEND_AGAIN
)
_READ_PLAN = "Read the plan of run {run_id}; for steps that are missing there, " + _SEND_AGAIN

_READ_AGENTS = "Read the agents of run {run_id}; if they are not as ordered, " + _SEND_AGAIN

_HOW_TO_SETTLE = {
    Verb.CREATE_MISSION: (
        "Look for metadata.bridge_command_id = {command_id} in the list of missions: the mission"
        f" that has it is this command's. If none has, {_SEND_AGAIN}"
    ),
    Verb.UPDATE_MISSION: (
        f"Read mission {{mission_id}}; if its fields are not as ordered, {_SEND_AGAIN}"
    ),
    Verb.DELETE_MISSION: f"Read mission {{mission_id}}; if it is still there, {_SEND_AGAIN}",
    Verb.CLONE_MISSION: (
        "A clone carries no mark: look in the list of missions for a copy of {mission_id} made at"
        f" that time. If there is none, {_SEND_AGAIN}"
    ),
    Verb.START_RUN: (
        "Look for metadata.bridge_command_id = {command_id} in the runs of mission {mission_id}:"
        f" the run that has it is this command's. If none shows up in some minutes, {_SEND_AGAIN}"
    ),
    Verb.UPDATE_RUN: (
        "Read run {run_id} of mission {mission_id} and compare the fields; if they are not as"
        f" ordered, {_SEND_AGAIN}"
    ),
    Verb.CANCEL_RUN: _READ_RUN % "cancelled",
    Verb.PAUSE_RUN: _READ_RUN % "paused",
    Verb.RESUME_RUN: _READ_RUN % "running",
    Verb.LOG_EVENT: (
        "Look for idempotency_key = {command_id} in the events of run {run_id}; if it is not"
        f" there, {_SEND_AGAIN}"
    ),
    Verb.CREATE_PLAN: _READ_PLAN,
    Verb.ADD_STEPS: _READ_PLAN,
    Verb.UPDATE_STEP: _READ_PLAN,
    Verb.LINK_AGENT: _READ_AGENTS,
    Verb.UNLINK_AGENT: _READ_AGENTS,
}


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
    """Surely not carried out: the key is refused, or this call to this key."""

    error: AccessError
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nobody knows whether the request was carried out."""

    doubt: Doubt


@dataclass(frozen=True, slots=True)
class LookAtState:
    """Refused; whether that matters shows in the state of what the command is about."""

    refusal: ApiRejected
    counts: bool = True


Verdict = Settled | Later | KeyRefused | Unclear | LookAtState


def judge(  # noqa: PLR0911 - a case for each kind of answer
    command: Command, error: ApiError | AccessError | ApiRejected | InvalidId, now: Micros
) -> Verdict:
    """Say what an error of the command's own request means for the command.

    What each answer proves is in bridge/missions/proof.py.
    """
    match error:
        case RateLimited():
            return Later(str(error), error.wait, counts=False)
        case ApiError(executed=False):
            return Later(str(error))
        case ApiError() | AccessError(executed=None):
            return Unclear(Doubt(str(error), error.status, error.body))
        case AccessError():
            return KeyRefused(error)
        case ApiRejected() if command.type in STATES or _knows_it(command, error):
            return LookAtState(error)
        case ApiRejected():
            return Settled(rejected(error, now))
        case InvalidId():
            return Settled(Outcome(Status.REJECTED, now, Problem("invalid", str(error))))


def _knows_it(command: Command, refusal: ApiRejected) -> bool:
    """Say whether an event may be refused because its idempotency_key is known already."""
    return command.type == Verb.LOG_EVENT and refusal.status == 409


def succeeded(command: Command, answer: Answer[Any], now: Micros) -> Outcome:
    """Return the outcome of an answered command."""
    ids = verbs.new_ids(command, answer.value)
    return Outcome(
        Status.SUCCEEDED,
        now,
        http_status=answer.status,
        response=answer.text or None,
        mission_id=ids.get("mission_id"),
        run_id=ids.get("run_id"),
    )


def rejected(error: ApiRejected | AccessError, now: Micros) -> Outcome:
    """Return the outcome of a command that the API refused."""
    problem = Problem("api_rejected", str(error), error.body)
    return Outcome(Status.REJECTED, now, problem, http_status=error.status)


def superfluous(refusal: ApiRejected, now: Micros) -> Outcome:
    """Return the outcome of a refused command that asked for what is so already."""
    return Outcome(Status.ALREADY_DONE, now, http_status=refusal.status)


def shut_out(entry: Entry, error: AccessError, now: Micros) -> Outcome:
    """Return the outcome of a command that something on the way to the API never lets pass."""
    message = (
        f"{entry.attempts} requests were refused while the key works for others, none was carried"
        f" out; the last: {error}. Look at what is between the bridge and the API, then"
        f" {_SEND_AGAIN}"
    )
    problem = Problem("no_effect", message, error.body)
    return Outcome(Status.FAILED, now, problem, http_status=error.status)


def confirmed(refusal: ApiRejected, seen: Sight, now: Micros) -> Outcome:
    """Return the outcome of a refused command, of which no other request is in doubt."""
    if isinstance(seen, Effect):
        return superfluous(refusal, now)
    return impossible(refusal, seen.state, now)


def impossible(refusal: ApiRejected, state: str, now: Micros) -> Outcome:
    """Return the outcome of a refused command whose object is in another state."""
    problem = Problem("api_rejected", f"{refusal}; {state}", refusal.body)
    return Outcome(Status.REJECTED, now, problem, http_status=refusal.status)


def found(by: str, response: str | None, ids: Mapping[str, str], now: Micros) -> Outcome:
    """Return the outcome of a command whose effect was found by reading."""
    return Outcome(
        Status.SUCCEEDED,
        now,
        response=response,
        mission_id=ids.get("mission_id"),
        run_id=ids.get("run_id"),
        resolved_by=by,
    )


def in_doubt(entry: Entry, doubt: Doubt, now: Micros, found: str | None = None) -> Outcome:
    """Return the outcome of a request whose fate nobody knows, with the way to find out.

    `found` is what reading showed, a clause without a full stop.
    """
    how = _HOW_TO_SETTLE[Verb(entry.type)].format(
        command_id=entry.command_id, mission_id=entry.mission_id, run_id=entry.run_id
    )
    looked = "" if found is None else f" Looking for its effect: {found}."
    message = f"{doubt.seen}. It may have been carried out.{looked} {how}."
    problem = Problem("in_doubt", message, doubt.http_body)
    return Outcome(Status.IN_DOUBT, now, problem, http_status=doubt.http_status)


def failed(entry: Entry, doubt: Doubt, now: Micros) -> Outcome:
    """Return the outcome of a command that was repeated in vain."""
    message = (
        f"{entry.attempts} requests had no clear answer, and reading showed after each that it had"
        f" no effect; the last: {doubt.seen}. Look into the API, then {_SEND_AGAIN}"
    )
    problem = Problem("no_effect", message, doubt.http_body)
    return Outcome(Status.FAILED, now, problem, http_status=doubt.http_status)
