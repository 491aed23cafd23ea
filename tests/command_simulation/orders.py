"""What users put on the commands topic: good orders, repeated ones, and what is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from random import Random
from typing import Any, Final

from aiokafka import TopicPartition

from bridge.avro.codec import load_schemas
from bridge.clock import SECOND, Micros
from bridge.commands.model import Verb
from bridge.kafka.partition import murmur2
from command_simulation.api import Api

Body = dict[str, Any]


ALL_VERBS: Final[Mapping[str, float]] = dict.fromkeys((verb.value for verb in Verb), 1.0) | {
    "start_run": 4.0,
    "log_event": 2.0,
    "delete_mission": 0.2,
}


class Kind(Enum):
    """What a record of the commands topic is."""

    GOOD = "an order"
    AGAIN = "the same order once more"
    OTHER = "another order under a command_id that was used"
    EXPIRING = "an order that soon expires"
    DENIED = "an order that is not allowed"
    INVALID = "an order with a mistake"
    MISROUTED = "an order on the wrong partition"
    GARBAGE = "no order at all"


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of what is not simply a good order, and which verbs are ordered how often."""

    again: float = 0.0
    other: float = 0.0
    expiring: float = 0.0
    denied: float = 0.0
    invalid: float = 0.0
    misrouted: float = 0.0
    garbage: float = 0.0
    strict: float = 0.0
    """Share of commands that say `on_doubt: strict`."""
    verbs: Mapping[str, float] = field(default_factory=lambda: ALL_VERBS)

    def kind(self, rng: Random) -> Kind:
        """Draw what comes next."""
        luck = rng.random()
        for kind in Kind:
            luck -= 0.0 if kind is Kind.GOOD else getattr(self, kind.name.lower())
            if luck < 0:
                return kind
        return Kind.GOOD


DENIED: Final = Verb.DELETE_MISSION.value
"""The verb that is not allowed in stories with orders that are denied."""

_RUN_VERBS: Final = frozenset(Verb) - {
    Verb.CREATE_MISSION,
    Verb.UPDATE_MISSION,
    Verb.DELETE_MISSION,
    Verb.CLONE_MISSION,
    Verb.START_RUN,
}
_ONCE: Final = frozenset(
    {"pause_run", "resume_run", "cancel_run", "clone_mission", "delete_mission", "create_plan"}
)
"""Requests that bear no mark, or can succeed once only: one of each on the same thing."""


@dataclass(frozen=True, slots=True)
class Order:
    """A record that was put on the topic; `mark` is what the API would know its request by."""

    kind: Kind
    at: TopicPartition
    offset: int
    key: bytes | None
    command_id: str = ""
    verb: str = ""
    mission_id: str | None = None
    mark: str = ""
    strict: bool = False
    forbidden: bool = False

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return self.at.partition, self.offset


@cache
def _fields() -> dict[str, list[str]]:
    """The fields of each record in the union `body`."""
    fields = load_schemas()["mission_command"].parsed["fields"]
    union = next(field["type"] for field in fields if field["name"] == "body")
    return {
        record["name"].rpartition(".")[2]: [field["name"] for field in record["fields"]]
        for record in union
    }


@dataclass(frozen=True, slots=True)
class Draft:
    """An order before it is on the topic."""

    command: dict[str, Any]
    mark: str

    @property
    def key(self) -> bytes:
        """The key that it should have."""
        given = self.command["run_id"] or self.command["mission_id"] or self.command["command_id"]
        return str(given).encode()


class Users:
    """Think of orders about the missions and runs of an API."""

    def __init__(self, mix: Mix, api: Api, rng: Random, partitions: int) -> None:
        self.mix = mix
        self._api = api
        self._rng = rng
        self._partitions = partitions
        self._verbs = dict(mix.verbs)
        if mix.denied:
            self._verbs.pop(DENIED, None)
        self._runs = [(row["mission_id"], row["run_id"]) for row in api.runs.rows()]
        self._done: set[tuple[str, str]] = set()
        self._agents: list[tuple[str, str]] = []
        self._number = 0

    def draft(self, now: Micros, *, verb: str | None = None) -> Draft:
        """Think of an order."""
        self._number += 1
        command_id = f"c{self._number}"
        while True:
            wanted = verb or self._rng.choices(*zip(*self._verbs.items(), strict=True))[0]
            mission, run = self._rng.choice(self._runs)
            thing = run if Verb(wanted) in _RUN_VERBS else mission
            if verb is None and wanted in _ONCE and (wanted, thing) in self._done:
                continue
            self._done.add((wanted, thing))
            break
        return self._made(Verb(wanted), command_id, mission, run, now)

    def _made(self, verb: Verb, command_id: str, mission: str, run: str, now: Micros) -> Draft:
        fields, mark = self._fields_of(verb, command_id, mission, run)
        own = None if verb is Verb.CREATE_MISSION else mission
        command = {
            "command_id": command_id,
            "type": verb.value,
            "mission_id": own,
            "run_id": run if verb in _RUN_VERBS else None,
            "account": None,
            "issued_at": now,
            "expires_at": None,
            "issuer": None,
            "on_doubt": "strict" if self._rng.random() < self.mix.strict else None,
            "body": _body(verb, fields),
        }
        return Draft(command, mark)

    def _fields_of(  # noqa: C901, PLR0911 - a case for each verb
        self, verb: Verb, command_id: str, mission: str, run: str
    ) -> tuple[Body, str]:
        """Return a body, and the mark by which the API will know the request."""
        own = f"{command_id}/a"
        match verb:
            case Verb.CREATE_MISSION:
                return {"name": f"Mission {command_id}", "description": "a"}, own
            case Verb.UPDATE_MISSION:
                return {"name": "Another name", "description": own}, own
            case Verb.START_RUN:
                return {"input": f'{{"what": "a", "id": "{command_id}"}}'}, own
            case Verb.UPDATE_RUN:
                return {"result_summary": own}, own
            case Verb.LOG_EVENT:
                return {"type": "custom", "summary": "a"}, own
            case Verb.CREATE_PLAN:
                return {"steps": [self._step("first", own)]}, own
            case Verb.ADD_STEPS:
                return {"steps": [self._step(command_id, own)]}, own
            case Verb.UPDATE_STEP:
                metadata = f'{{"by": "{own}"}}'
                return {"step_id": "first", "status": "completed", "metadata": metadata}, own
            case Verb.LINK_AGENT:
                self._agents.append((run, command_id))
                return {"telnyx_agent_id": command_id}, f"link_agent/{run}/{command_id}"
            case Verb.UNLINK_AGENT:
                agent = next((a for r, a in self._agents if r == run), f"none-{command_id}")
                self._agents = [each for each in self._agents if each[1] != agent]
                path = f"{mission}/runs/{run}/telnyx-agents/{agent}"
                return {"telnyx_agent_id": agent}, f"unlink_agent/{path}"
            case Verb.DELETE_MISSION:
                return {}, f"delete_mission/{mission}"
            case Verb.CLONE_MISSION:
                return {}, f"clone_mission/{mission}/clone"
        return {}, f"{verb.value}/{mission}/runs/{run}/{verb.value.partition('_')[0]}"

    @staticmethod
    def _step(step_id: str, description: str) -> Body:
        empty = {"parent_step_id": None, "metadata": None}
        return {"step_id": step_id, "description": description, "sequence": 1, **empty}

    def partition_of(self, key: bytes) -> int:
        """Return where a key belongs."""
        return murmur2(key, self._partitions)


def spoiled(kind: Kind, draft: Draft, now: Micros, rng: Random) -> Draft:
    """Return the draft with the mistake, or the term, that its kind has."""
    command = dict(draft.command)
    match kind:
        case Kind.EXPIRING:
            command["expires_at"] = now + round(rng.choice((-1.0, 0.5, 5.0, 30.0)) * SECOND)
        case Kind.OTHER:
            command["account"] = "another"
        case Kind.INVALID:
            flaw: Mapping[str, Any] = rng.choice(
                (
                    {"command_id": "a/b"},
                    {"type": "sing"},
                    {"on_doubt": "resolve"},
                    {"mission_id": "../missions"},
                )
            )
            command.update(flaw)
    return Draft(command, draft.mark)


def garbage(rng: Random, value: bytes) -> bytes | None:
    """Return bytes that are no command."""
    return rng.choice((None, b"", b"{}", value[:-1], value + b"\0", value[:3], value[:5]))


def _body(verb: Verb, fields: Body) -> tuple[str, Body]:
    empty = dict.fromkeys(_fields()[verb.branch])
    return f"missionbridge.v1.{verb.branch}", empty | fields


def by_key(orders: list[Order]) -> Iterator[list[Order]]:
    """Yield the orders of each key in the order of their partition."""
    keys: dict[tuple[TopicPartition, bytes | None], list[Order]] = {}
    for order in orders:
        keys.setdefault((order.at, order.key), []).append(order)
    yield from keys.values()
