"""The way to the API and back: time passes, answers get lost, machines freeze and die on it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from random import Random
from typing import Any, Final

import httpx
import httpx._urlparse
import httpx._urls

from bridge.dev.answers import Ending, Reply
from bridge.dev.simulator import Simulator
from simulation.virtual import Machine, MachineClock
from simulation.weather import Sky

# A third of what a request costs is the parsing of its URL, which is a pure function of a text.
httpx._urls.urlparse = httpx._urlparse.urlparse = functools.lru_cache(8192)(  # type: ignore[attr-defined]
    httpx._urlparse.urlparse
)

TOO_MANY: Final = 3000
"""Requests in one story: it will not end by itself."""


@dataclass(frozen=True, slots=True)
class Roads:
    """How requests travel, and what is done to answers on their way. Shares of requests."""

    latencies: tuple[float, ...] = (0.02, 0.02, 0.05, 0.05, 0.1, 0.3, 1.5)
    lost: float = 0.0
    """No answer: refused, reset, or silence."""
    wrong_dates: float = 0.0
    """Answers whose Date is three lateness windows ahead."""
    no_dates: float = 0.0
    """Answers without a Date."""
    fixed_size: int | None = None
    """The server has one page size, whatever is asked for."""
    outages: float = 0.0
    """Chance a second that the API is away, for 30 to 200 s."""


class Network(httpx.AsyncBaseTransport):
    """Brings the requests of one machine to the simulator."""

    def __init__(
        self,
        roads: Roads,
        machine: Machine,
        clock: MachineClock,
        simulator: Simulator,
        sky: Sky,
        rng: Random,
        before: Callable[[Machine], None],
        tell: Callable[[str], None],
        lateness: float,
    ) -> None:
        self._roads = roads
        self._machine = machine
        self._clock = clock
        self._simulator = simulator
        self._sky = sky
        self._rng = rng
        self._before = before
        self._tell = tell
        self._lateness = lateness
        self.away = False
        self.requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        roads, rng = self._roads, self._rng
        self.requests += 1
        self._before(self._machine)
        await self._machine.travel(rng.choice(roads.latencies))
        if self.away:
            raise httpx.ConnectError("the API is away")
        if roads.lost and rng.random() < roads.lost and not self._sky.is_calm:
            await self._lose()
        now = self._clock.now()
        self._sky.blow(now)
        self._sky.answered(now)
        reply = self._simulator.handle(
            request.method,
            request.url.raw_path.decode().partition("?")[0],
            self._query(request),
            {"authorization": request.headers["authorization"]},
            request.content,
        )
        self._spoil_date(reply)
        if rng.random() < 0.25:
            await self._machine.travel(rng.choice(roads.latencies))
        else:
            await self._machine.gate()
        return await self._deliver(request, reply)

    def _query(self, request: httpx.Request) -> str:
        query = request.url.query.decode()
        size = self._roads.fixed_size
        if size is None or not request.url.path.endswith("/events"):
            return query
        return f"page[number]={request.url.params['page[number]']}&page[size]={size}"

    async def _lose(self) -> None:
        kind = self._rng.randrange(3)
        if kind == 0:
            raise httpx.ConnectError("refused")
        if kind == 1:
            raise httpx.ReadError("reset")
        await self._machine.travel(1000.0)

    def _spoil_date(self, reply: Reply) -> None:
        roads, rng = self._roads, self._rng
        date = reply.headers.get("date")
        if date is None:
            return
        offset = self._sky.clock_offset
        if roads.wrong_dates and not self._sky.is_calm and rng.random() < roads.wrong_dates:
            offset += 3 * self._lateness
        if offset:
            was = parsedate_to_datetime(date).timestamp()
            reply.headers["date"] = formatdate(was + offset, usegmt=True)
        if roads.no_dates and rng.random() < roads.no_dates:
            del reply.headers["date"]

    async def _deliver(self, request: httpx.Request, reply: Reply) -> httpx.Response:
        path = request.url.raw_path.decode().partition("/missions")[2]
        self._tell(f"asks {path}: {reply.status}, {len(reply.body)} bytes")
        if reply.delay:
            await self._machine.travel(reply.delay)
        if reply.ending is Ending.WITHHELD:
            await self._machine.travel(1000.0)
        if reply.ending is Ending.DROPPED or reply.keep is not None:
            raise httpx.RemoteProtocolError("the connection was closed")
        headers: Any = reply.headers
        return httpx.Response(reply.status, headers=headers, content=reply.body)
