"""The ledger of one partition: a fold over the records of the compacted command-state topic.

`Ledger` takes decoded records in their order and answers what is known of a command. `Position` is
what of the input is complete: a low-water mark and the completed spans above it. Both are pure;
`journal.py` reads and writes. The schema is schemas/command_state.avsc, one record form for every
kind of key:

    <command_id>               intent -> (doubt -> withdrawn -> intent ...) -> done
    pos/<partition>            position
    claim/<partition>/<nonce>  claim, forgotten again once a later owner has read past it
    brake/...                  brake, on partition 0: see brake.py
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import Any

from bridge.clock import SECOND, Micros
from bridge.commands.model import Doubt, Entry, Kind, Outcome, Problem, Received, Status
from bridge.errors import StateError

VERSION = 2
"""What this bridge writes and the newest that it understands; 1 had no doubts and no brakes."""


def position_key(partition: int) -> str:
    """Return the key of the record that says how far a partition was read."""
    return f"pos/{partition}"


def claim_key(partition: int, nonce: str) -> str:
    """Return the key of the mark of one owner."""
    return f"claim/{partition}/{nonce}"


class Position:
    """Which offsets are complete: all below `low`, and spans above it.

    `next` is the offset after the last one that was read here. Offsets that Kafka never shows
    (transaction markers, aborted records, what retention removed) count as complete once a later
    one was read, so that the low-water mark passes them.
    """

    def __init__(self, low: int, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.low = low
        self.next = low
        self._first: list[int] = []
        self._last: list[int] = []
        self._held: set[int] = set()
        for first, last in spans:
            self.complete(first, last)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The completed offsets above `low` as (first, last), in order and apart."""
        return list(zip(self._first, self._last, strict=True))

    def covers(self, offset: int) -> bool:
        """Say whether an offset is complete."""
        if offset < self.low:
            return True
        at = bisect_right(self._first, offset) - 1
        return at >= 0 and offset <= self._last[at]

    def complete(self, first: int, last: int | None = None) -> None:
        """Count an offset, or a span with both its ends, as complete."""
        last = first if last is None else last
        first = max(first, self.low)
        if last < first:
            return
        self._held.difference_update([offset for offset in self._held if first <= offset <= last])
        begin = bisect_left(self._last, first - 1)
        end = bisect_right(self._first, last + 1)
        if begin < end:
            first = min(first, self._first[begin])
            last = max(last, self._last[end - 1])
        self._first[begin:end] = [first]
        self._last[begin:end] = [last]
        if self._first[0] == self.low:
            self.low = self._last.pop(0) + 1
            self._first.pop(0)

    def hold(self, offset: int) -> None:
        """Take up an offset from the ledger: reading may find it again, or find it gone."""
        if not self.covers(offset):
            self._held.add(offset)

    def take(self, offset: int) -> bool:
        """Note that reading came to `offset`; True if it is to be worked on."""
        if offset < self.next:
            return False
        gap = self.next
        for held in sorted(held for held in self._held if gap <= held < offset):
            self.complete(gap, held - 1)
            gap = held + 1
        self.complete(gap, offset - 1)
        self.next = offset + 1
        return offset not in self._held and not self.covers(offset)

    def merge(self, other: Position) -> None:
        """Add what `other` has as complete."""
        self.complete(self.low, other.low - 1)
        for first, last in other.spans:
            self.complete(first, last)

    def with_completed(self, offsets: Iterable[int]) -> Position:
        """Return a copy with these offsets complete as well, as a transaction will say."""
        copy = Position(self.low, self.spans)
        for offset in offsets:
            copy.complete(offset)
        return copy


HORIZON: Micros = 7 * 86_400 * SECOND
"""How long a finished command is remembered, so that another one with its id is a DUPLICATE."""

MOST_FINISHED = 100_000
MOST_TEXT = 64 * 2**20
"""Bounds, in commands and in characters of their answers, beyond which the oldest are forgotten."""


class Ledger:
    """What is known of the commands of one partition, in the order of their last records."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._finished: dict[str, int] = {}
        self._text = 0
        self.position: Position | None = None
        self.partitions: int | None = None
        self.claims: set[str] = set()

    def get(self, command_id: str) -> Entry | None:
        """Return what is known of a command."""
        return self._entries.get(command_id)

    def put(self, entry: Entry) -> None:
        """Take over an entry that is durable."""
        self.forget(entry.command_id)
        self._entries[entry.command_id] = entry
        if entry.outcome is not None:
            size = self._finished[entry.command_id] = len(entry.outcome.response or "")
            self._text += size

    def forget(self, command_id: str) -> None:
        """Drop what is known of a command."""
        self._entries.pop(command_id, None)
        self._text -= self._finished.pop(command_id, 0)

    def too_old(self, now: Micros, most: int) -> list[str]:
        """Return finished commands to be forgotten, the oldest first and `most` at a time.

        None of them can run again: their offsets are complete in the position, which stays.
        """
        count, text, old = len(self._finished), self._text, list[str]()
        for command_id, size in islice(self._finished.items(), most):
            outcome = self._entries[command_id].outcome
            fresh = outcome is not None and outcome.finished_at > now - HORIZON
            if fresh and count <= MOST_FINISHED and text <= MOST_TEXT:
                break
            old.append(command_id)
            count, text = count - 1, text - size
        return old

    def unfinished(self) -> list[Entry]:
        """Return the commands that were begun and have no final result, in their order."""
        begun = (entry for entry in self._entries.values() if entry.kind is not Kind.DONE)
        return sorted(begun, key=lambda entry: entry.offset)

    def fold(self, key: str, state: Mapping[str, Any] | None, partition: int) -> None:
        """Apply one record of the topic, in the order of the topic.

        Raises StateError for a record that a newer bridge wrote.
        """
        if state is None:
            self.forget(key)
            self.claims.discard(key)
            return
        check_version(key, state, partition)
        match state["kind"]:
            case "position":
                at = state["position"]
                spans = ((span["first"], span["last"]) for span in at["completed"])
                self.position = Position(at["low"], spans)
                self.partitions = at["partitions"]
            case "claim":
                self.claims.add(key)
            case "brake":
                pass
            case _:
                self.put(_entry(state, partition))


def check_version(key: str, state: Mapping[str, Any], partition: int) -> None:
    """Raise StateError for a record that a newer bridge wrote."""
    if state["version"] > VERSION:
        raise StateError(
            f"the ledger's record {key!r} of partition {partition} has version"
            f" {state['version']}, this bridge knows {VERSION}: run the newer bridge"
        )


def claim_state(owner: str, now: Micros) -> dict[str, Any]:
    """Return the record of an owner's mark."""
    return _state("claim", owner, now)


def position_state(position: Position, partitions: int, owner: str, now: Micros) -> dict[str, Any]:
    """Return the record of how far a partition was read; `partitions` is the topic's count."""
    completed = [{"first": first, "last": last} for first, last in position.spans]
    at = {"low": position.low, "completed": completed, "partitions": partitions}
    return _state("position", owner, now) | {"position": at}


def brake_state(
    verb: str | None, mission_id: str | None, set_by: str, reason: str | None, now: Micros
) -> dict[str, Any]:
    """Return the record that holds commands back."""
    brake = {"verb": verb, "mission_id": mission_id, "set_by": set_by, "reason": reason}
    return _state("brake", "", now) | {"brake": brake}


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
        "origin": entry.origin and _origin_state(entry.origin),
    }
    outcome = entry.outcome and _outcome_state(entry.outcome)
    return _state(entry.kind.value, owner, now) | {"command": command, "outcome": outcome}


def _state(kind: str, owner: str, now: Micros) -> dict[str, Any]:
    return {
        "version": VERSION,
        "kind": kind,
        "written_at": now,
        "owner": owner,
        "command": None,
        "outcome": None,
        "position": None,
        "brake": None,
    }


def _origin_state(origin: Received) -> dict[str, Any]:
    headers = [{"name": name, "value": value} for name, value in origin.headers]
    return {"key": origin.key, "value": origin.value, "headers": headers}


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
        headers=tuple((header["name"], header["value"]) for header in origin["headers"]),
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
