"""The control endpoint: faults, behaviour, insertions, and the ledger, as JSON over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bridge.clock import Micros
from bridge.dev.api.answers import Row, SimulatedReply, encode, instant
from bridge.dev.api.faults import KINDS, Behaviour, Faults, explained, parse_behaviour, parse_faults
from bridge.dev.api.life import Life
from bridge.dev.api.meddler import Doomed, Meddler, Meddling, NewEvents
from bridge.dev.api.operations import OPERATIONS
from bridge.dev.api.record_of_truth import PARTS, RecordOfTruth
from bridge.dev.api.world import World

_ENDPOINTS: Mapping[tuple[str, str], str] = {
    ("GET", ""): "this text",
    ("GET", "ledger"): f"what was done and shown; ?part= one or more of {', '.join(PARTS)}",
    ("GET", "faults"): "the faults that are on, and how often each struck",
    ("POST", "faults"): "switch on one fault, or a list of them",
    ("POST", "reset-faults"): "faults and behaviour as they were at the start",
    ("GET", "behaviour"): "the standing behaviour",
    ("POST", "behaviour"): "change some of it",
    ("POST", "events"): "create events now",
    ("POST", "change-event"): "change what lists show of an event",
    ("POST", "delete-missions"): "delete missions with their runs and events",
    ("POST", "key"): 'accept only {"api_key": "..."}; null accepts any',
}


_object: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


class _NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    api_key: str | None


class Key:
    """The API key that is accepted; None accepts any."""

    def __init__(self, value: str | None) -> None:
        self.value = value

    def accepts(self, authorization: str) -> bool:
        """Whether this header opens the API."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            return False
        return self.value is None or token == self.value


class Control:
    """Answers /_control/...; needs no key."""

    def __init__(
        self,
        *,
        world: World,
        life: Life,
        faults: Faults,
        meddler: Meddler,
        ledger: RecordOfTruth,
        key: Key,
    ) -> None:
        self._world = world
        self._life = life
        self._faults = faults
        self._meddler = meddler
        self._ledger = ledger
        self._key = key
        self._start = world.behaviour
        self._handlers: Mapping[tuple[str, str], Callable[[Any, Micros], Row]] = {
            ("GET", ""): lambda _, __: _documentation(),
            ("GET", "faults"): lambda _, __: self._describe_faults(),
            ("POST", "faults"): self._add_faults,
            ("POST", "reset-faults"): self._reset,
            ("GET", "behaviour"): lambda _, __: self._world.behaviour.model_dump(),
            ("POST", "behaviour"): self._behave,
            ("POST", "events"): self._insert,
            ("POST", "change-event"): self._change,
            ("POST", "delete-missions"): self._delete,
            ("POST", "key"): self._set_key,
        }

    def handle(
        self, method: str, name: str, parts: list[str], body: bytes, now: Micros
    ) -> SimulatedReply:
        """Answer a request to /_control/<name>; 400 says what is wrong."""
        try:
            if (method, name) == ("GET", "ledger"):
                return SimulatedReply(200, encode(self._ledger.read(parts or PARTS)))
            handler = self._handlers.get((method, name))
            if handler is None:
                return SimulatedReply(404, encode({"error": f"no {method} /_control/{name}"}))
            return SimulatedReply(200, encode(handler(json.loads(body) if body else {}, now)))
        except ValidationError as error:
            return SimulatedReply(400, encode({"error": explained(error)}))
        except ValueError as error:
            return SimulatedReply(400, encode({"error": str(error)}))

    def _describe_faults(self) -> Row:
        return {"faults": self._faults.describe()}

    def _add_faults(self, value: Any, _now: Micros) -> Row:
        self._faults.add(parse_faults(value, frozenset(OPERATIONS)))
        return self._describe_faults()

    def _reset(self, _value: Any, now: Micros) -> Row:
        self._faults.reset()
        return self._adopt(self._start, now)

    def _behave(self, value: Any, now: Micros) -> Row:
        current = self._world.behaviour.model_dump()
        changes = _object.validate_python(value)
        return self._adopt(parse_behaviour({**current, **changes}), now)

    def _adopt(self, behaviour: Behaviour, now: Micros) -> Row:
        before, self._world.behaviour = self._world.behaviour, behaviour
        if behaviour.rate != before.rate:
            self._life.wake(now)
        return behaviour.model_dump()

    def _insert(self, value: Any, now: Micros) -> Row:
        events = self._meddler.insert(NewEvents.model_validate(value), now)
        shown = [
            {
                "event_id": e.event_id,
                "run_id": e.run_id,
                "mission_id": e.mission_id,
                "timestamp": instant(e.at),
            }
            for e in events
        ]
        return {"events": shown}

    def _change(self, value: Any, _now: Micros) -> Row:
        change = Meddling.model_validate(value)
        self._meddler.change(change)
        return {"event_id": change.event_id}

    def _delete(self, value: Any, now: Micros) -> Row:
        return {"mission_ids": self._meddler.delete(Doomed.model_validate(value), now)}

    def _set_key(self, value: Any, _now: Micros) -> Row:
        self._key.value = _NewKey.model_validate(value).api_key
        return {"api_key": "any" if self._key.value is None else "set"}


def _documentation() -> Row:
    faults = {}
    for kind in KINDS:
        schema = kind.model_json_schema()
        name = schema["properties"].pop("kind")["const"]
        faults[name] = {"does": schema["description"], "fields": schema["properties"]}
    return {
        "endpoints": {
            f"{verb} /_control/{path}": text for (verb, path), text in _ENDPOINTS.items()
        },
        "operations": list(OPERATIONS),
        "faults": faults,
        "behaviour": Behaviour.model_json_schema()["properties"],
        "events": NewEvents.model_json_schema()["properties"],
        "change-event": Meddling.model_json_schema()["properties"],
        "delete-missions": Doomed.model_json_schema()["properties"],
    }
