"""The ledger of one partition: a fold over the records of the compacted command-state topic.

`Ledger` takes decoded records in their order and answers what is known of a command; it is pure,
`journal.py` reads and writes. The schema is schemas/command_state.avsc, one record form for every
kind of key:

    <command_id>               intent -> (doubt -> withdrawn -> intent ...) -> done
    pos/<partition>            position
    claim/<partition>/<nonce>  claim, forgotten again once a later owner has read past it
    reply/<partition>/<id>     reply: a copy of a result that is owed, forgotten once it is made
    brake/...                  brake, on partition 0: see brake.py
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from bridge.clock import Micros
from bridge.commands.ledger.packing import pack, unpack
from bridge.commands.ledger.position import InputPosition
from bridge.commands.model import Doubt, Entry, Kind, Outcome, Problem, Received, Status
from bridge.commands.state_record import (
    check,
    state_of,
)
from bridge.kafka.producer import Record

HORIZON = 7 * 86_400.0
"""Seconds for which a finished command is remembered, so that another one with its id is a
DUPLICATE. Its owner counts them on the monotonic clock: setting a clock forgets nothing."""

MOST_FINISHED = 100_000
"""Finished commands beyond which the oldest are forgotten before their time."""

MOST_TEXT = 32 * 2**20
"""Characters of answers, in all partitions of the topic, each with an equal share, beyond which the
oldest lose theirs; that they are finished stays known."""


class Ledger:
    """What is known of the commands of one partition, in the order of their last records.

    It began at `began`, monotonic; what is folded counts as finished then at the earliest.
    """

    def __init__(self, began: float = 0.0) -> None:
        self._began = began
        self._begun: dict[str, Entry] = {}
        self._finished: dict[str, bytes] = {}
        self._answers: dict[str, int] = {}
        self._text = 0
        self.position: InputPosition | None = None
        self.partitions: int | None = None
        self.claims: set[str] = set()
        self.replies: dict[str, Record] = {}

    def get(self, command_id: str) -> Entry | None:
        """Return what is known of a command."""
        packed = self._finished.get(command_id)
        return self._begun.get(command_id) if packed is None else unpack(command_id, packed)[1]

    def put(self, entry: Entry, now: float | None = None) -> None:
        """Take over an entry that is durable since `now`, monotonic; None: since the beginning."""
        self.forget(entry.command_id)
        if entry.kind is not Kind.DONE:
            self._begun[entry.command_id] = entry
            return
        self._finished[entry.command_id] = pack(entry, self._began if now is None else now)
        if entry.outcome is not None and entry.outcome.response:
            self._answers[entry.command_id] = len(entry.outcome.response)
            self._text += len(entry.outcome.response)

    def shorten(self, entry: Entry) -> None:
        """Take over an entry without its answer; its age and place stay."""
        since, _ = unpack(entry.command_id, self._finished[entry.command_id])
        self._finished[entry.command_id] = pack(entry, since)
        self._text -= self._answers.pop(entry.command_id, 0)

    def forget(self, command_id: str) -> None:
        """Drop what is known of a command."""
        self._begun.pop(command_id, None)
        self._finished.pop(command_id, None)
        self._text -= self._answers.pop(command_id, 0)

    def too_old(self, now: float, most: int) -> list[str]:
        """Return finished commands to be forgotten, the oldest first and `most` at a time.

        None of them can run again: their offsets are complete in the position, which stays.
        """
        count, old = len(self._finished), list[str]()
        for command_id, packed in islice(self._finished.items(), most):
            if count - len(old) <= MOST_FINISHED and unpack(command_id, packed)[0] > now - HORIZON:
                break
            old.append(command_id)
        return old

    def too_long(self, most: int, partitions: int) -> list[Entry]:
        """Return finished commands without the answers that there is no room for, oldest first.

        `partitions` is the topic's count.
        """
        text, found = self._text, list[Entry]()
        for command_id, size in islice(self._answers.items(), most):
            if text <= MOST_TEXT // partitions:
                break
            _, entry = unpack(command_id, self._finished[command_id])
            found.append(entry.without_answer())
            text -= size
        return found

    def unfinished(self) -> list[Entry]:
        """Return the commands that were begun and have no final result, in their order."""
        return sorted(self._begun.values(), key=lambda entry: entry.offset)

    def fold(self, key: str, state: Mapping[str, Any] | None, partition: int) -> None:
        """Apply one record of the topic, in the order of the topic.

        Raises InvalidRecord for one that no bridge wrote, or a newer one.
        """
        if state is None:
            self.forget(key)
            self.claims.discard(key)
            self.replies.pop(key, None)
            return
        check(key, state)
        match state["kind"]:
            case "position":
                at = state["position"]
                spans = ((span["first"], span["last"]) for span in at["completed"])
                self.position = InputPosition(at["low"], spans)
                self.partitions = at["partitions"]
            case "claim":
                self.claims.add(key)
            case "reply":
                self.replies[key] = _reply(state["reply"])
            case "brake":
                pass
            case _:
                self.put(_entry(state, partition))


def claim_state(owner: str, now: Micros) -> dict[str, Any]:
    """Return the record of an owner's mark."""
    return state_of("claim", owner, now)


def position_state(
    position: InputPosition, partitions: int, owner: str, now: Micros
) -> dict[str, Any]:
    """Return the record of how far a partition was read; `partitions` is the topic's count."""
    completed = [{"first": first, "last": last} for first, last in position.spans]
    at = {"low": position.low, "completed": completed, "partitions": partitions}
    return state_of("position", owner, now) | {"position": at}


def reply_state(copy: Record, owner: str, now: Micros) -> dict[str, Any]:
    """Return the record of a copy that is owed."""
    result = _record_state(copy.key, copy.value, copy.headers)
    reply = {"topic": copy.topic, "partition": copy.partition, "result": result}
    return state_of("reply", owner, now) | {"reply": reply}


def entry_state(entry: Entry, owner: str, now: Micros) -> dict[str, Any]:
    """Return the record of a command's life so far."""
    command = {
        "command_id": entry.command_id,
        "type": entry.type,
        "mission_id": entry.mission_id,
        "run_id": entry.run_id,
        "account": entry.account,
        "fingerprint": entry.fingerprint,
        "offset": entry.offset,
        "attempts": entry.attempts,
        "received_at": entry.received_at,
        "started_at": entry.started_at,
        "attempted_at": entry.attempted_at,
        "before": entry.before,
        "doubt": entry.doubt and asdict(entry.doubt),
        "stamp": entry.stamp,
        "origin": entry.origin
        and _record_state(entry.origin.key, entry.origin.value, entry.origin.headers),
    }
    outcome = entry.outcome and _outcome_state(entry.outcome)
    return state_of(entry.kind.value, owner, now) | {"command": command, "outcome": outcome}


def _record_state(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> dict[str, Any]:
    listed = [{"name": name, "value": value} for name, value in headers]
    return {"key": key, "value": value, "headers": listed}


def _headers(state: Mapping[str, Any]) -> tuple[tuple[str, bytes], ...]:
    return tuple((header["name"], header["value"]) for header in state["headers"])


def _reply(state: Mapping[str, Any]) -> Record:
    result = state["result"]
    where = state["topic"], state["partition"]
    return Record(*where, result["key"], result["value"], _headers(result))


def _outcome_state(outcome: Outcome) -> dict[str, Any]:
    problem = outcome.problem
    return {
        "status": outcome.status.value,
        "mission_id": outcome.mission_id,
        "run_id": outcome.run_id,
        "http_status": outcome.http_status,
        "error_code": problem and problem.code,
        "error_message": problem and problem.message,
        "error_http_body": problem and problem.http_body,
        "response": outcome.response,
        "resolved_by": outcome.resolved_by,
        "finished_at": outcome.finished_at,
    }


def _entry(state: Mapping[str, Any], partition: int) -> Entry:
    command, outcome = state["command"], state["outcome"]
    return Entry(
        kind=Kind(state["kind"]),
        command_id=command["command_id"],
        type=command["type"],
        mission_id=command["mission_id"],
        run_id=command["run_id"],
        account=command["account"],
        fingerprint=command["fingerprint"],
        offset=command["offset"],
        received_at=command["received_at"],
        attempts=command["attempts"],
        started_at=command["started_at"],
        attempted_at=command["attempted_at"],
        before=command["before"],
        doubt=command["doubt"] and Doubt(**command["doubt"]),
        stamp=command["stamp"],
        origin=command["origin"] and _origin(command, partition),
        outcome=outcome and _outcome(outcome),
    )


def _origin(command: Mapping[str, Any], partition: int) -> Received:
    origin = command["origin"]
    return Received(
        partition=partition,
        offset=command["offset"],
        key=origin["key"],
        value=origin["value"],
        headers=_headers(origin),
        received_at=command["received_at"],
    )


def _outcome(state: Mapping[str, Any]) -> Outcome:
    code = state["error_code"]
    return Outcome(
        status=Status(state["status"]),
        finished_at=state["finished_at"],
        problem=code and Problem(code, state["error_message"], state["error_http_body"]),
        http_status=state["http_status"],
        response=state["response"],
        mission_id=state["mission_id"],
        run_id=state["run_id"],
        resolved_by=state["resolved_by"],
    )
