"""Decisions about a command before any request leaves: pure, given the time and what is known.

The order is part of the contract: fields, then key, partition and account, then what the ledger
knows of the command_id, then what is allowed, then (before each attempt) whether it still holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.clock import Micros
from bridge.commands.model import (
    COMMAND_ID,
    Command,
    Entry,
    Kind,
    Outcome,
    Problem,
    Received,
    Status,
    Verb,
    first_sight,
)
from bridge.commands.requests import verbs
from bridge.config.models import CommandSettings
from bridge.errors import InvalidId, InvalidRecord
from bridge.kafka.partition import PARTITIONERS, Partitioner, crc32, murmur2
from bridge.missions import ids

_HOW_TO_SEND = {
    murmur2: "murmur2, Java's own (librdkafka: partitioner=murmur2_random)",
    crc32: "crc32, librdkafka's own (partitioner=consistent_random)",
}
_WITHOUT_MISSION = frozenset({Verb.CREATE_MISSION})
_WITHOUT_RUN = _WITHOUT_MISSION | {
    Verb.UPDATE_MISSION,
    Verb.DELETE_MISSION,
    Verb.CLONE_MISSION,
    Verb.START_RUN,
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows, and how producers find a key's partition.

    `missions` and `accounts` None allow all, `partitioner` None accepts a key in any partition.
    """

    allow: frozenset[str]
    missions: frozenset[str] | None
    partitioner: Partitioner | None
    accounts: frozenset[str] | None

    @classmethod
    def of(cls, settings: CommandSettings, accounts: Iterable[str]) -> Rules:
        """Return the rules that the settings make, and the names of the accounts."""
        partitioner = PARTITIONERS[settings.partitioner]
        return cls(settings.allow, settings.missions, partitioner, frozenset(accounts))


@dataclass(frozen=True, slots=True)
class Refuse:
    """Give this result and send nothing; `remember`: the ledger keeps it under the command_id."""

    entry: Entry
    outcome: Outcome
    final: bool
    remember: bool


@dataclass(frozen=True, slots=True)
class TellAgain:
    """Give the recorded result of this entry again: nothing shows that it was published."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Proceed:
    """Carry the command out, going on from this entry; an open one is looked for first."""

    entry: Entry


Decision = Refuse | TellAgain | Proceed


def decide(
    command: Command,
    received: Received,
    known: Entry | None,
    rules: Rules,
    *,
    partitions: int,
    now: Micros,
) -> Decision:
    """Say what to do with a command that nobody here works on.

    `known` is what the ledger has under its command_id, `partitions` the count of its topic.

    A record that is refused before the ledger counts was not accepted: it leaves nothing in the
    ledger, and where its id belongs to an accepted command the refusal is not final, so that no
    command gets two final results.
    """
    own = known if known is not None and known.offset == received.offset else None
    entry = own or first_sight(command, received)
    if own is not None and own.kind is Kind.DONE:
        return TellAgain(own)
    if own is not None and own.is_open:
        return Proceed(own)
    refusal = _refusal(command, received, rules, partitions)
    if refusal is not None:
        final = known is None or own is not None
        return Refuse(entry, _rejected(*refusal, now), final=final, remember=own is not None)
    if known is not None and own is None:
        return Refuse(entry, _used_before(command, known, now), final=False, remember=False)
    denial = _denial(command, rules, now)
    if denial is not None:
        return Refuse(entry, denial, final=True, remember=True)
    return Proceed(entry)


def expired(command: Command, now: Micros) -> Outcome | None:
    """Return the outcome of a command that must not be attempted any more."""
    if command.expires_at is None or now < command.expires_at:
        return None
    problem = Problem("expired", "expires_at had passed before the command could be carried out")
    return Outcome(Status.EXPIRED, now, problem)


class Fuse:
    """Lets so many run starts a minute pass: a run places phone calls and costs money."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starts: deque[float] = deque()

    def wait(self, now: float) -> float:
        """Return the seconds until a start may pass; 0 lets this one pass and counts it."""
        while self._starts and self._starts[0] <= now - 60.0:
            self._starts.popleft()
        if len(self._starts) < self._limit:
            self._starts.append(now)
            return 0.0
        return self._starts[0] + 60.0 - now

    def shown(self, now: float) -> dict[str, int]:
        """What /status shows: how many starts passed in the last minute, and how many may."""
        return {
            "last_minute": sum(start > now - 60.0 for start in self._starts),
            "most": self._limit,
        }


def _refusal(
    command: Command, received: Received, rules: Rules, partitions: int
) -> tuple[str, str] | None:
    flaw = _flaw(command)
    if flaw is not None:
        return "invalid", flaw
    route = _misrouting(command, received, rules, partitions)
    if route is not None:
        return "misrouted", route
    if command.account is None or rules.accounts is None or command.account in rules.accounts:
        return None
    return "unknown_account", (
        f"account {command.account[:64]!r} is no source of this bridge, whose key would be used;"
        " without account it is the common key"
    )


def _flaw(command: Command) -> str | None:
    """Say what is wrong with the fields, if anything."""
    if not COMMAND_ID.fullmatch(command.command_id):
        return "command_id must be 1 to 128 of the characters A-Z a-z 0-9 _ -"
    try:
        verb = Verb(command.type)
    except ValueError:
        return f"type {command.type[:64]!r} is no verb of this bridge"
    if command.branch != verb.branch:
        return f"type {verb.value} needs the body {verb.branch}, not {command.branch}"
    if command.on_doubt not in (None, "strict"):
        return "on_doubt may only be strict, or absent"
    try:
        _check_ids(command, verb)
        verbs.request(command)
    except (InvalidId, InvalidRecord) as error:
        return str(error)
    return None


def _check_ids(command: Command, verb: Verb) -> None:
    for field, value, needed in (
        ("mission_id", command.mission_id, verb not in _WITHOUT_MISSION),
        ("run_id", command.run_id, verb not in _WITHOUT_RUN),
    ):
        if value is not None:
            ids.uuid(field, value)
        elif needed:
            raise InvalidId(f"{verb.value} needs a {field}")


def _misrouting(command: Command, received: Received, rules: Rules, partitions: int) -> str | None:
    if received.key != command.key:
        return (
            f"the record's key must be {command.key.decode()!r} (run_id, else mission_id, else"
            " command_id): order and dedup hold within a key"
        )
    if rules.partitioner is None:
        return None
    right = rules.partitioner(command.key, partitions)
    if received.partition == right:
        return None
    return (
        f"this key belongs on partition {right}, not {received.partition}, of {partitions}: set"
        f" the producer's partitioner to {_HOW_TO_SEND[rules.partitioner]}"
    )


def _used_before(command: Command, known: Entry, now: Micros) -> Outcome:
    if known.fingerprint != command.fingerprint:
        what = f"command_id stands for another command, at offset {known.offset}: take a new one"
        return _rejected("id_reused", what, now)
    first = known.outcome
    if first is None:
        problem = Problem("duplicate", f"the command at offset {known.offset} is in progress")
        return Outcome(Status.DUPLICATE, now, problem)
    return Outcome(
        Status.DUPLICATE,
        now,
        Problem("duplicate", f"the command at offset {known.offset} was {first.status.value}"),
        http_status=first.http_status,
        response=first.response,
        mission_id=first.mission_id,
        run_id=first.run_id,
    )


def _denial(command: Command, rules: Rules, now: Micros) -> Outcome | None:
    if command.type not in rules.allow:
        what = f"BRIDGE_COMMANDS__ALLOW does not list {command.type}"
        return Outcome(Status.UNAUTHORIZED, now, Problem("verb_not_allowed", what))
    if rules.missions is not None and (command.mission_id or "").lower() not in rules.missions:
        what = f"BRIDGE_COMMANDS__MISSIONS does not list {command.mission_id or 'new missions'}"
        return Outcome(Status.UNAUTHORIZED, now, Problem("mission_not_allowed", what))
    return None


def _rejected(code: str, message: str, now: Micros) -> Outcome:
    return Outcome(Status.REJECTED, now, Problem(code, message))
