"""The way to the API and back. What has left a machine arrives whatever becomes of the machine."""

from __future__ import annotations

import asyncio
import json
from email.utils import formatdate
from typing import Any, Final

import httpx
from simulation.virtual import Machine, passing, wall

from bridge.clock import SECOND, Micros
from command_simulation.api import Answer, mark_of, verb_of
from command_simulation.roads import ANSWERED, CARRIED_OUT, UNCLEAR, Road
from command_simulation.stage import Stage

LATENCIES: Final = (0.02, 0.02, 0.05, 0.05, 0.1, 0.3, 1.5)
MOST_REQUESTS: Final = 3000
"""More than so many are a livelock."""

TURNED_AWAY: Final = (400, 403, 404, 404, 410, 451)
"""Statuses of somebody on the way, whose answers are HTML."""

_REFUSAL: Final = {"errors": [{"code": "10015", "title": "no", "detail": "as the story wants it"}]}


class Network(httpx.AsyncBaseTransport):
    """Brings the requests of one machine to the API."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self._stage = stage
        self._machine = machine
        self._rng = stage.network_chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        errand = _Errand(self._stage, request)
        try:
            return await self._run(errand, request.extensions.get("trace"))
        except asyncio.CancelledError:
            errand.is_given_up()
            raise

    async def _run(self, errand: _Errand, trace: Any) -> httpx.Response:
        stage, machine, road = self._stage, self._machine, errand.road
        self._count()
        await machine.travel(self._rng.choice(LATENCIES))
        if road is Road.KILLED_BEFORE:
            machine.die()
        elif road is Road.FROZEN_BEFORE:
            stage.freeze(machine)
        # What is ready to be written when a frozen process wakes up is written before it looks at
        # its timers, so no time-out keeps it.
        answer = await asyncio.shield(self._sent(errand, trace))
        if road is Road.KILLED_UNDER_WAY:
            machine.die()
        elif road is Road.FROZEN_UNDER_WAY:
            stage.freeze(machine)
        await machine.gate()
        response = await answer
        if road is Road.KILLED_ANSWERED:
            machine.die()
        await machine.gate()
        return response

    async def _sent(self, errand: _Errand, trace: Any) -> asyncio.Future[httpx.Response]:
        stage, machine, road = self._stage, self._machine, errand.road
        await machine.gate()
        if stage.api_away or road is Road.REFUSED:
            raise httpx.ConnectError("refused")
        if trace is not None:
            await trace("http11.send_request_headers.started", None)
        stage.tell(machine.name, f"asks {errand.name}: {road.value}")
        return errand.send()

    def _count(self) -> None:
        self._stage.requests += 1
        if self._stage.requests > MOST_REQUESTS:
            self._stage.fail(f"more than {MOST_REQUESTS} requests")


class _Errand:
    """A request, and what becomes of it."""

    def __init__(self, stage: Stage, request: httpx.Request) -> None:
        self._stage = stage
        self._method = request.method
        self._path = [
            part for part in request.url.path.partition("/missions")[2].split("/") if part
        ]
        self._query = request.url.params
        self._body = json.loads(request.content or b"{}")
        self._rng = stage.network_chance
        self._sent = 0.0
        self._answer: asyncio.Future[httpx.Response] = stage.loop.create_future()
        self.road = stage.roads.road(self._rng, read=request.method == "GET")
        self.name = f"{request.method} {'/'.join(self._path)}"

    def is_given_up(self) -> None:
        """Note that nobody waits for the answer any more."""
        if self._method != "GET":
            self._stage.unclear.add(self._mark)

    def send(self) -> asyncio.Future[httpx.Response]:
        """Let it arrive in due time; return what will be its answer."""
        road, rng = self.road, self._rng
        self._sent = self._stage.loop.time()
        if road in UNCLEAR:
            self.is_given_up()
        delay: float = rng.choice(LATENCIES)
        if road is Road.LATE:
            delay = rng.uniform(0.0, self._stage.settings.commands.settle - 1.0)
        elif road is Road.VERY_LATE:
            delay = self._stage.settings.commands.settle * rng.choice((1.1, 2.1, 5.0, 20.0))
        self._stage.under_way += 1
        self._stage.loop.call_later(delay, self._arrive)
        return self._answer

    @property
    def _mark(self) -> str:
        return mark_of(verb_of(self._method, self._path), self._path, self._body)

    def _arrive(self) -> None:
        stage, road = self._stage, self.road
        stage.under_way -= 1
        if road is Road.THROTTLED:
            seconds = self._rng.choice(("0", "1", "3", "20", "-5", "1000000000"))
            self._reply(429, _REFUSAL, {"retry-after": seconds})
        elif road is Road.UNSERVED:
            self._reply(503, _REFUSAL)
        elif road is Road.NOT_PASSED_ON:
            self._reply(self._rng.choice((407, 421, 425)), None)
        elif road is Road.TURNED_AWAY:
            self._reply(self._rng.choice(TURNED_AWAY), None)
        elif stage.key_refused:
            self._reply(401, _REFUSAL)
        elif self._method != "GET" and self._mark in stage.forbidden:
            self._reply(403, _REFUSAL)
        elif road in CARRIED_OUT:
            self._answered(*self._carry_out())
        elif road is Road.VANISHED:
            self._break()

    def _answered(self, status: int, document: Any) -> None:
        """Let the answer of a request that was carried out be on its way, or what is left of it."""
        road = self.road
        if road is Road.FAILED:
            self._reply(500, _REFUSAL)
        elif road is Road.BROKEN:
            self._reply(200, None)
        elif road is Road.REDIRECTED:
            self._reply(self._rng.choice((301, 303, 307)), None, {"location": "/elsewhere"})
        elif road is Road.INTERCEPTED:
            self._reply(self._rng.choice(TURNED_AWAY), None)
        elif road is Road.RESET:
            self._break()
        elif road in ANSWERED:
            self._reply(status, _REFUSAL if document is None else document)

    def _break(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(httpx.ReadError("reset"))

    def _carry_out(self) -> Answer:
        stage, now = self._stage, wall(self._stage.loop)
        if self._method == "GET":
            return stage.api.read(self._path, self._query, self._seen(now))
        return stage.api.write(
            self._method, self._path, self._body, now, sent=self._sent, at=stage.loop.time()
        )

    def _seen(self, now: Micros) -> Micros | None:
        """Return what time a read shows; None: the present."""
        roads = self._stage.roads
        if not roads.stale or self._rng.random() >= roads.stale:
            return None
        ago: float = self._rng.uniform(0.0, roads.stale_by)
        return now - round(ago * SECOND)

    def _reply(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        if self._answer.done():
            return
        own = {"date": formatdate(wall(self._stage.loop) // SECOND, usegmt=True)} | (headers or {})
        content = b"<html>" if document is None else json.dumps(document).encode()
        self._answer.set_result(httpx.Response(status, headers=own, content=content))


async def outage(stage: Stage, name: str, seconds: float) -> None:
    """Let something be away for a while: `name` is the stage's word for it."""
    stage.tell("story", f"{name} for {seconds:.0f} s")
    setattr(stage, name, True)
    await passing(seconds)
    setattr(stage, name, False)
