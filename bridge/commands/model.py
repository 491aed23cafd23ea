"""What a command is, what becomes of it, and the one value that carries it through its life.

A record of the commands topic is a `Received`; decoded it is a `Command`; its life from first
sight to final result is an `Entry`, which is also what the ledger keeps. An `Outcome` is what a
result says beyond naming its command. All are plain values: nothing here waits or asks the time.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, overload

from bridge.clock import Micros

COMMAND_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
"""What a command_id looks like, matched whole. It holds no slash: ledger keys with one are ours."""

TEXT_LIMIT = 256 * 1024
"""Longest answer, in bytes of UTF-8, that results and the ledger carry; both fit one record."""

_ERROR_LIMIT = 16 * 1024


class Verb(StrEnum):
    """What a command asks for; the API's operation of the same meaning."""

    CREATE_MISSION = "create_mission"
    UPDATE_MISSION = "update_mission"
    DELETE_MISSION = "delete_mission"
    CLONE_MISSION = "clone_mission"
    START_RUN = "start_run"
    UPDATE_RUN = "update_run"
    CANCEL_RUN = "cancel_run"
    PAUSE_RUN = "pause_run"
    RESUME_RUN = "resume_run"
    LOG_EVENT = "log_event"
    CREATE_PLAN = "create_plan"
    ADD_STEPS = "add_steps"
    UPDATE_STEP = "update_step"
    LINK_AGENT = "link_agent"
    UNLINK_AGENT = "unlink_agent"

    @property
    def branch(self) -> str:
        """The name of the verb's record in the union `body`: StartRun for start_run."""
        return "".join(word.capitalize() for word in self.value.split("_"))


class Status(StrEnum):
    """What became of a command."""

    SUCCEEDED = "SUCCEEDED"
    ALREADY_DONE = "ALREADY_DONE"
    DUPLICATE = "DUPLICATE"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    UNAUTHORIZED = "UNAUTHORIZED"
    IN_DOUBT = "IN_DOUBT"


class Kind(StrEnum):
    """How far a command came; all but NEW are kinds of ledger records."""

    NEW = "new"
    INTENT = "intent"
    DOUBT = "doubt"
    WITHDRAWN = "withdrawn"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Received:
    """A record of the commands topic, as it came.

    `received_at` is our time, not the record's; `arrived` is the same on the monotonic clock, 0
    for a record that comes from the ledger.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    received_at: Micros
    arrived: float = field(default=0.0, compare=False)

    @property
    def size(self) -> int:
        """Bytes of key, value and headers, with what each header costs in a batch."""
        own = len(self.key or b"") + len(self.value or b"")
        return own + sum(len(name) + len(value) + 20 for name, value in self.headers)


@dataclass(frozen=True, slots=True)
class Command:
    """A decoded command; fields named as in the Avro schema, `branch` is the body's record name."""

    command_id: str
    type: str
    mission_id: str | None
    run_id: str | None
    account: str | None
    expires_at: Micros | None
    on_doubt: str | None
    branch: str
    body: Mapping[str, Any]

    @property
    def key(self) -> bytes:
        """The record key that keeps commands on the same thing in order and in one partition."""
        return (self.run_id or self.mission_id or self.command_id).encode()

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that tell a repeated command from another one under the same command_id.

        When it was issued, by whom and until when it holds may differ between repetitions. Absent
        fields leave no trace, so that a schema that gained one gives the same fingerprint.
        """
        what = [self.type, self.mission_id, self.run_id, self.account, _present(self.body)]
        return hashlib.blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a command did not succeed: a stable code, a sentence, and the API's own words if any."""

    code: str
    message: str
    http_body: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a result says beyond naming its command; ids only where the command made them."""

    status: Status
    finished_at: Micros
    problem: Problem | None = None
    http_status: int | None = None
    response: str | None = None
    mission_id: str | None = None
    run_id: str | None = None
    resolved_by: str | None = None


@dataclass(frozen=True, slots=True)
class Doubt:
    """What was seen of a request of which nobody knows whether it was carried out.

    `seen` is a clause without a full stop, `told` says that a result IN_DOUBT was published.
    """

    seen: str
    http_status: int | None = None
    http_body: str | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A command's life so far; `origin` until it is done, `outcome` from then on.

    `attempted_at` is when the last request was announced, `before` what was read of its object
    right before (see sight.py). `doubt` stays until reading has shown that no request before the
    next one had an effect. `stamp` is unique to each entry that was written: it tells our own from
    another owner's.
    """

    kind: Kind
    command_id: str
    type: str
    mission_id: str | None
    run_id: str | None
    account: str | None
    fingerprint: bytes
    offset: int
    received_at: Micros
    attempts: int = 0
    started_at: Micros | None = None
    attempted_at: Micros | None = None
    before: str | None = None
    doubt: Doubt | None = None
    origin: Received | None = None
    outcome: Outcome | None = None
    stamp: str = ""

    @property
    def is_open(self) -> bool:
        """Whether a request may have been carried out and nobody knows it yet."""
        return self.kind in (Kind.INTENT, Kind.DOUBT)

    def attempting(self, now: Micros, before: str | None) -> Entry:
        """Return the entry that must be durable before a request leaves."""
        return replace(
            self,
            kind=Kind.INTENT,
            attempts=self.attempts + 1,
            started_at=now if self.started_at is None else self.started_at,
            attempted_at=now,
            before=before,
            stamp=uuid.uuid4().hex,
        )

    def withdrawn(self, *, counts: bool) -> Entry:
        """Return the entry after a request that surely had no effect; an older doubt stays."""
        attempts = self.attempts - (not counts)
        kind = Kind.WITHDRAWN if self.doubt is None else Kind.DOUBT
        return replace(self, kind=kind, attempts=attempts, stamp=uuid.uuid4().hex)

    def doubted(self, doubt: Doubt) -> Entry:
        """Return the entry of a command whose requests are looked for."""
        return replace(self, kind=Kind.DOUBT, doubt=doubt, stamp=uuid.uuid4().hex)

    def cleared(self) -> Entry:
        """Return the entry after reading has shown that no request had an effect."""
        return replace(self, kind=Kind.WITHDRAWN, doubt=None, stamp=uuid.uuid4().hex)

    def done(self, outcome: Outcome) -> Entry:
        """Return the entry of a command that has its final result."""
        stamp = uuid.uuid4().hex
        return replace(
            self,
            kind=Kind.DONE,
            before=None,
            doubt=None,
            origin=None,
            outcome=outcome,
            stamp=stamp,
        )

    def without_answer(self) -> Entry:
        """Return the entry of a finished command without the API's answer."""
        return replace(self, outcome=self.outcome and replace(self.outcome, response=None))


def parse(value: Mapping[str, Any]) -> Command:
    """Return the command in a decoded record, whose `body` is (record name, fields)."""
    name, body = value["body"]
    return Command(
        command_id=value["command_id"],
        type=value["type"],
        mission_id=value["mission_id"],
        run_id=value["run_id"],
        account=value["account"],
        expires_at=value["expires_at"],
        on_doubt=value["on_doubt"],
        branch=name.rpartition(".")[2],
        body=body,
    )


def first_sight(command: Command, received: Received) -> Entry:
    """Return the entry of a command of which nothing was written yet."""
    return Entry(
        kind=Kind.NEW,
        command_id=command.command_id,
        type=command.type,
        mission_id=command.mission_id,
        run_id=command.run_id,
        account=command.account,
        fingerprint=command.fingerprint,
        offset=received.offset,
        received_at=received.received_at,
        origin=received,
    )


def fit(outcome: Outcome) -> Outcome:
    """Return the outcome with texts that fit a record; what is left out is said, not hidden.

    Answers are JSON text and go whole or not at all; the API's words in errors are cut.
    """
    problem, response = outcome.problem, _clean(outcome.response)
    if response is not None and (size := len(response.encode())) > TEXT_LIMIT:
        gone = Problem(
            "response_too_large", f"the answer of {size} bytes is not kept: read it anew"
        )
        problem, response = problem or gone, None
    if problem is not None:
        body = _clean(problem.http_body)
        if body is not None and len(body) > _ERROR_LIMIT:
            body = body[:_ERROR_LIMIT] + " [cut]"
        problem = Problem(problem.code, _clean(problem.message[:_ERROR_LIMIT]), body)
    return replace(
        outcome,
        problem=problem,
        response=response,
        mission_id=_clean(outcome.mission_id),
        run_id=_clean(outcome.run_id),
    )


def result(entry: Entry, outcome: Outcome, partition: int, *, final: bool) -> dict[str, Any]:
    """Return the fields of the CommandResult that tells `outcome` of the command in `entry`."""
    problem = outcome.problem
    return {
        "command_id": entry.command_id,
        "type": entry.type,
        "status": outcome.status.value,
        "final": final,
        "mission_id": outcome.mission_id or entry.mission_id,
        "run_id": outcome.run_id or entry.run_id,
        "http_status": outcome.http_status,
        "error": problem
        and {"code": problem.code, "message": problem.message, "http_body": problem.http_body},
        "response": outcome.response,
        "attempts": entry.attempts,
        "resolved_by": outcome.resolved_by,
        "account": entry.account,
        "received_at": entry.received_at,
        "started_at": entry.started_at,
        "finished_at": outcome.finished_at,
        "source_partition": partition,
        "source_offset": entry.offset,
    }


@overload
def _clean(text: str) -> str: ...
@overload
def _clean(text: str | None) -> str | None: ...
def _clean(text: str | None) -> str | None:
    """Write lone surrogates, which JSON can hide in a text and UTF-8 cannot hold, as escapes."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


def _present(value: Any) -> Any:
    """Drop what is null, at every depth."""
    if isinstance(value, Mapping):
        return {name: _present(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_present(item) for item in value]
    return value
