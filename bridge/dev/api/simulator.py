"""A faithful server of the Missions API for demonstrations and tests.

Everything it does follows from its seed, its clock and the requests it gets, so `Simulator.handle`
gives the same answers with or without HTTP around it.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote

from bridge.clock import SECOND, Clock, Micros
from bridge.dev.api.answers import (
    ApiProblem,
    Ending,
    Invalid,
    Refused,
    Row,
    SimulatedPage,
    SimulatedReply,
    code_for,
    encode,
    fastapi_refusal,
    not_found,
    refusal,
)
from bridge.dev.api.control import Control, Key
from bridge.dev.api.faults import (
    Behaviour,
    BodyFault,
    Bomb,
    Cut,
    Drift,
    Drop,
    Echo,
    Fault,
    Faults,
    LateEffect,
    Overrun,
    Slow,
    StaleFault,
    StatusFault,
    Withhold,
    bomb,
    parse_behaviour,
    parse_faults,
)
from bridge.dev.api.http import application, serving
from bridge.dev.api.life import Life
from bridge.dev.api.meddler import Doomed, Meddler, NewEvents
from bridge.dev.api.operations import OPERATIONS, Call, Operations, find
from bridge.dev.api.record_of_truth import RecordOfTruth
from bridge.dev.api.world import Ids, World

_MINUTE = 60 * SECOND


class Simulator:
    """The API of one organization.

    `events` past events are spread over the last `past` seconds; from then on the world makes
    `rate` events a second by itself. Without `api_key` any bearer key opens it.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        seed: int = 1,
        events: int = 0,
        rate: float = 0.0,
        past: float = 7200.0,
        api_key: str | None = None,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        behaviour = behaviour or Behaviour()
        behaviour = behaviour.model_copy(update={"rate": rate or behaviour.rate})
        organization_id = Ids(seed, "organization").new()
        self._clock = clock
        self.world = World(organization_id, behaviour)
        self._life = Life(self.world, seed)
        self._faults = Faults(seed, faults)
        self._meddler = Meddler(self.world, seed)
        self._ledger = RecordOfTruth(self.world)
        self._key = Key(api_key)
        self._operations = Operations(self.world, self._life, self._ledger, seed)
        self._control = Control(
            world=self.world,
            life=self._life,
            faults=self._faults,
            meddler=self._meddler,
            ledger=self._ledger,
            key=self._key,
        )
        self._minute: tuple[Micros, int] = (0, 0)
        now = clock.now()
        self._life.past(events, now - int(past * SECOND), now)
        self._life.wake(now)
        self.app = application(self.handle)

    def ledger(self) -> Row:
        """Everything it ever did and showed, as GET /_control/ledger gives it."""
        self.world.advance(self._clock.now())
        return self._ledger.read()

    def control(self, name: str, value: object = None) -> Row:
        """GET /_control/<name>, or POST a value to it; ValueError if it is refused."""
        method, body = ("GET", b"") if value is None else ("POST", encode(value))
        path, _, query = name.partition("?")
        reply = self.handle(method, f"/_control/{path}", query, {}, body)
        if reply.status != 200:
            raise ValueError(reply.body.decode())
        answer: Row = json.loads(reply.body)
        return answer

    def handle(
        self,
        method: str,
        path: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> SimulatedReply:
        """Answer one request. `path` is percent-encoded, `headers` have lower-case names."""
        now = self.world.advance(self._clock.now())
        segments = [unquote(segment) for segment in path.split("/")[1:]]
        arguments = parse_qsl(query, keep_blank_values=True)
        if segments[0] == "_control":
            parts = [value for name, value in arguments if name == "part"]
            reply = self._control.handle(method, "/".join(segments[1:]), parts, body, now)
            return self._dressed(reply, now)
        operation, ids, exists = find(method, segments)
        refused = self._admit(headers or {}, now)
        if refused is not None:
            reply = refused
        elif operation is None:
            reply = _no_operation(path, exists=exists)
        else:
            reply = self._serve(Call(operation, ids, dict(arguments), body, now), method)
        self._ledger.request(operation or "unknown", reply)
        return self._dressed(reply, now)

    def _admit(self, headers: Mapping[str, str], now: Micros) -> SimulatedReply | None:
        """Refuse a wrong key, and more requests than the limit allows."""
        if not self._key.accepts(headers.get("authorization", "")):
            return refusal(401, [ApiProblem("10009", "The API key is missing or wrong")])
        limit = self.world.behaviour.rate_limit
        if limit is None:
            return None
        minute, used = self._minute
        used = used + 1 if minute == now // _MINUTE else 1
        self._minute = (now // _MINUTE, used)
        if used > limit:
            return refusal(429, [ApiProblem("10011", f"More than {limit} requests in a minute")])
        return None

    def _serve(self, call: Call, method: str) -> SimulatedReply:
        """Carry out a call, with the faults that strike it."""
        struck = self._faults.strike(call.operation, method)
        for fault in struck:
            if isinstance(fault, Drift):
                self._drift(fault, call.now)
            if isinstance(fault, StaleFault):
                call = replace(call, seen_until=call.now - int(fault.seconds * SECOND))
        reply = self._instead(struck, call)
        if reply is not None:
            return reply
        answer = self._carry_out(call)
        if isinstance(answer, SimulatedReply):
            return _spoiled(answer, struck)
        for fault in struck:
            if isinstance(fault, Echo):
                _mislabel(answer, fault)
        page = answer.encode()
        reply = _spoiled(SimulatedReply(200, page), struck)
        if reply.body is page and reply.is_whole:
            self._ledger.shown(answer.events, call.now)
        return reply

    def _drift(self, fault: Drift, now: Micros) -> None:
        self._meddler.delete(Doomed(count=fault.delete), now)
        if fault.insert:
            self._meddler.insert(NewEvents(count=fault.insert), now)

    def _instead(self, struck: Sequence[Fault], call: Call) -> SimulatedReply | None:
        """The answer of the first fault that keeps the call from being carried out now."""
        for fault in struck:
            match fault:
                case StatusFault(effect=False):
                    return _error(fault)
                case Withhold(effect=False):
                    return SimulatedReply(0, ending=Ending.WITHHELD)
                case Drop(effect=False):
                    return SimulatedReply(0, ending=Ending.DROPPED)
                case LateEffect():
                    when = call.now + int(fault.seconds * SECOND)
                    self.world.at(when, lambda at: self._carry_out_late(call, at))
                    return SimulatedReply(0, ending=Ending.WITHHELD)
        return None

    def _carry_out(self, call: Call) -> SimulatedReply | SimulatedPage:
        try:
            return self._operations.answer(call)
        except Invalid as error:
            if self.world.behaviour.error_form == "fastapi":
                return fastapi_refusal(error.problems)
            return refusal(error.status, error.problems)
        except Refused as error:
            return refusal(error.status, error.problems)

    def _carry_out_late(self, call: Call, at: Micros) -> None:
        self._carry_out(replace(call, now=at))

    def _dressed(self, reply: SimulatedReply, now: Micros) -> SimulatedReply:
        """The reply with the headers that every answer has."""
        behaviour = self.world.behaviour
        if reply.body:
            reply.headers.setdefault("content-type", "application/json")
        if behaviour.date:
            reply.headers["date"] = formatdate(now / SECOND + behaviour.date_offset, usegmt=True)
        if behaviour.rate_limit is not None:
            left = max(0, behaviour.rate_limit - self._minute[1])
            reply.headers["x-ratelimit-limit"] = str(behaviour.rate_limit)
            reply.headers["x-ratelimit-remaining"] = str(left)
            reply.headers["x-ratelimit-reset"] = str(60 - now % _MINUTE // SECOND)
        return reply


def _no_operation(path: str, *, exists: bool) -> SimulatedReply:
    if exists:
        return refusal(405, [ApiProblem("10015", f"{path} does not take this method")])
    error = not_found(path)
    return refusal(error.status, error.problems)


def _error(fault: StatusFault) -> SimulatedReply:
    detail = f"Simulated answer {fault.status}"
    reply = refusal(fault.status, [ApiProblem(code_for(fault.status), detail)])
    reply.headers.update({name.lower(): value for name, value in fault.headers.items()})
    if fault.retry_after is not None:
        reply.headers["retry-after"] = fault.retry_after
    return reply


def _mislabel(page: SimulatedPage, fault: Echo) -> None:
    """Put wrong figures into a page's meta."""
    names = ("page_number", "page_size", "total_pages", "total_results")
    wrong = {name: value for name in names if (value := getattr(fault, name)) is not None}
    page.meta.update(wrong or {"page_number": page.meta["page_number"] + 1})


def _spoiled(reply: SimulatedReply, struck: Sequence[Fault]) -> SimulatedReply:
    """The answer after the faults that let the call be carried out."""
    for fault in struck:
        match fault:
            case StatusFault(effect=True):
                reply = _error(fault)
            case BodyFault():
                headers = {"content-type": fault.content_type}
                reply = SimulatedReply(fault.status, fault.text.encode(), headers)
            case Bomb():
                reply = SimulatedReply(200, bomb(fault.megabytes), {"content-encoding": "gzip"})
            case Withhold() | Drop():
                held = isinstance(fault, Withhold)
                reply.ending = Ending.WITHHELD if held else Ending.DROPPED
            case Slow():
                reply.delay, reply.pace = fault.seconds, fault.pace
            case Cut():
                reply.keep = _part(fault.keep, reply.body)
            case Overrun():
                reply.declared = _part(fault.declared, reply.body)
            case StaleFault(age=True):
                reply.headers["age"] = str(int(fault.seconds))
    return reply


def _part(length: int | None, body: bytes) -> int:
    """So many bytes of a body, by default half of it."""
    return len(body) // 2 if length is None else min(length, len(body))


async def serve(
    simulator: Simulator,
    host: str,
    port: int,
    stop: asyncio.Event,
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve until `stop` is set; `ready` gets the API's base URL (port 0 picks a free one)."""
    async with serving(simulator.app, host, port) as url:
        ready(f"{url}/v2")
        await stop.wait()


def run(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 1,
    events: int = 0,
    rate: float = 0.0,
    past: float = 7200.0,
    api_key: str | None = None,
    behaviour: Mapping[str, object] | None = None,
    faults: Sequence[object] = (),
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve a simulator until SIGTERM or SIGINT.

    `behaviour` and `faults` are JSON values as the control endpoint takes them; ValueError says
    what is wrong with them, OSError that the address cannot be bound.
    """
    simulator = Simulator(
        clock=Clock(),
        seed=seed,
        events=events,
        rate=rate,
        past=past,
        api_key=api_key,
        behaviour=parse_behaviour(behaviour or {}),
        faults=parse_faults(list(faults), frozenset(OPERATIONS)),
    )

    async def until_signalled() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(simulator, host, port, stop, ready)

    asyncio.run(until_signalled())
