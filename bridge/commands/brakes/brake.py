"""The brake: commands that wait because a person, or the breaker, wants it so.

Each brake is a record of the ledger's partition 0, one key for each scope; a tombstone lifts it:

    brake/*/*              everything       brake/<verb>/*              a verb
    brake/*/<mission_id>   a mission        brake/<verb>/<mission_id>   a verb of a mission
    brake/breaker          no records are taken up at all: too many became dead letters

Every process follows that partition, open transactions included, so that nobody's transaction
hides a brake. Until it has read to the end, and while it cannot read, everything is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bridge import telemetry
from bridge.clock import Clock, Micros, until_stopped
from bridge.commands import state_record
from bridge.commands.decoder import Decoder
from bridge.config.models import Settings
from bridge.errors import InvalidRecord, KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.tail import follow

PARTITION = 0
"""Where brakes are kept."""

BREAKER = "brake/breaker"

LONGEST_WAIT = 60.0
"""Seconds after which a command that is held looks again; a change of the brakes wakes it."""

PREFIX = "brake/"
_ANY = "*"
_RETRY = 1.0
_READING = "reading which commands are held back"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which commands a brake holds; None: all verbs, all missions."""

    verb: str | None = None
    mission_id: str | None = None

    @property
    def key(self) -> str:
        """The record's key."""
        mission = _ANY if self.mission_id is None else self.mission_id.lower()
        return f"{PREFIX}{self.verb or _ANY}/{mission}"

    def __str__(self) -> str:
        if self.mission_id is None:
            return self.verb or "everything"
        return f"{self.verb or 'everything'} of mission {self.mission_id}"


@dataclass(frozen=True, slots=True)
class Brake:
    """A brake that is set: by whom, when and why."""

    key: str
    scope: Scope
    set_by: str
    since: Micros
    reason: str | None

    def __str__(self) -> str:
        return "taking up records" if self.key == BREAKER else str(self.scope)

    def holds(self, verb: str, mission_id: str | None) -> bool:
        """Whether it holds back commands of a verb that are about a mission."""
        mission = self.scope.mission_id
        return self.scope.verb in (None, verb) and mission in (None, (mission_id or "").lower())

    @property
    def lifted_by(self) -> str:
        """The command that lifts it."""
        options = {"--verb": self.scope.verb, "--mission": self.scope.mission_id}
        given = [f" {name} {value}" for name, value in options.items() if value is not None]
        return f"mission-bridge commands resume{''.join(given)}"

    @property
    def shown(self) -> dict[str, Any]:
        """What /status and `commands status` show; `since` in microseconds UTC."""
        return {
            "holds": str(self),
            "verb": self.scope.verb,
            "mission_id": self.scope.mission_id,
            "since": self.since,
            "set_by": self.set_by,
            "reason": self.reason,
        }


class Brakes:
    """Which brakes are set. `trouble` says why that is not known; then everything is held."""

    def __init__(self) -> None:
        self._set: dict[str, Brake] = {}
        self._unreadable: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._trouble: str | None = _READING

    @property
    def trouble(self) -> str | None:
        """Why it is not known which brakes are set, None if it is."""
        if self._trouble is not None:
            return self._trouble
        return next(iter(self._unreadable.values()), None)

    @property
    def all(self) -> list[Brake]:
        """Those that are set, in the order of their keys."""
        return [self._set[key] for key in sorted(self._set)]

    @property
    def breaker(self) -> Brake | None:
        """The brake that keeps records from being taken up, if it is set."""
        return self._set.get(BREAKER)

    @property
    def changed(self) -> asyncio.Event:
        """Set at the next change, and never cleared: ask for it anew each time."""
        return self._changed

    def holds(self, verb: str, mission_id: str | None) -> bool:
        """Whether no request of such a command may leave now."""
        if self.trouble is not None:
            return True
        return bool(self._set) and any(key in self._set for key in _keys(verb, mission_id))

    async def unbroken(self, stop: asyncio.Event) -> bool:
        """Wait until records may be taken up; False if `stop` was set."""
        while self.breaker is not None and not stop.is_set():
            await until_stopped(self._changed.wait(), stop)
        return not stop.is_set()

    def fold(self, key: str, state: Mapping[str, Any] | None) -> None:
        """Apply one record of the brakes, in the order of the topic; raises InvalidRecord."""
        if state is not None:
            self.put(parse(key, state))
        elif (lifted := self._set.pop(key, None)) is not None:
            telemetry.brake_lifted(str(lifted))
        self._unreadable.pop(key, None)
        self._note()

    def spoil(self, key: str, reason: str) -> None:
        """Take note of a record that says nothing: it may have held anything, until it is gone."""
        self._set.pop(key, None)
        self._unreadable[key] = reason
        self._note()

    def put(self, brake: Brake) -> None:
        """Set a brake, before or after its record is read back."""
        if self._set.get(brake.key) != brake:
            self._set[brake.key] = brake
            telemetry.brake_set(str(brake), brake.set_by, brake.reason)
        self._note()

    def begin_anew(self) -> None:
        """Forget all: they are read from the start, where lifted ones may be gone without trace."""
        self._set.clear()
        self._unreadable.clear()

    def know(self, trouble: str | None) -> None:
        """Say that the brakes are known, or why they are not."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._note()

    def _note(self) -> None:
        telemetry.commands_braked(len(self._set))
        self._changed.set()
        self._changed = asyncio.Event()


class Follower:
    """Keeps the brakes as the ledger's partition 0 says."""

    def __init__(
        self, settings: Settings, kafka: KafkaClient, decoder: Decoder, clock: Clock, brakes: Brakes
    ) -> None:
        self._topic = settings.topic("command-state")
        self._kafka = kafka
        self._decoder = decoder
        self._clock = clock
        self._brakes = brakes

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until cancelled, through absences of Kafka.

        `stop` ends waiting for the schema registry.
        """
        while True:
            try:
                await self._follow(stop)
            except KafkaAway as error:
                self._brakes.know(f"which commands are held back cannot be read: {error}")
                telemetry.dependency_away("kafka", str(error), of="brake")
                await self._clock.sleep(_RETRY)

    async def _follow(self, stop: asyncio.Event) -> None:
        self._brakes.begin_anew()
        tails = follow(self._kafka, self._topic, PARTITION, clock=self._clock)
        async with aclosing(tails):
            async for tail in tails:
                for record in tail.records:
                    key = (record.key or b"").decode(errors="surrogateescape")
                    if key.startswith(PREFIX):
                        await self._fold(key, record.value, stop)
                if tail.whole:
                    self._brakes.know(None)
                    telemetry.dependency_back("kafka", of="brake")

    async def _fold(self, key: str, value: bytes | None, stop: asyncio.Event) -> None:
        try:
            state = value and await self._decoder.decode(f"{self._topic}-value", value, stop)
            self._brakes.fold(key, state or None)
        except InvalidRecord as error:
            self._brakes.spoil(
                key,
                f"the brake {key!r} on {self._topic}-{PARTITION} cannot be read ({error}), so"
                " everything is held: `mission-bridge commands resume` lifts it",
            )


def broken(reason: str, now: Micros) -> Brake:
    """Return the brake that the breaker sets."""
    return Brake(BREAKER, Scope(), "the breaker", now, reason)


def state(brake: Brake) -> dict[str, Any]:
    """Return the fields of a brake's record."""
    scope = brake.scope
    return state_record.brake_state(
        scope.verb, scope.mission_id, brake.set_by, brake.reason, brake.since
    )


def parse(key: str, state: Mapping[str, Any]) -> Brake:
    """Return the brake in a decoded record; raises InvalidRecord for one that is none."""
    state_record.check(key, state)
    held = state["brake"]
    scope = Scope(held["verb"], held["mission_id"])
    if key not in {scope.key, BREAKER}:
        raise InvalidRecord("foreign_state", f"it is about {scope}, which is not its key")
    return Brake(key, scope, held["set_by"], state["written_at"], held["reason"])


def _keys(verb: str, mission_id: str | None) -> Iterator[str]:
    yield Scope().key
    yield Scope(verb).key
    if mission_id is not None:
        yield Scope(None, mission_id).key
        yield Scope(verb, mission_id).key
