"""The way to the API and back: time passes, answers get lost, machines freeze and die on it."""

from __future__ import annotations

import functools
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import httpx
import httpx._urlparse
import httpx._urls

from bridge.dev.answers import Ending, Reply
from simulation.stage import Stage
from simulation.virtual import Machine

# A third of what a request costs is the parsing of its URL, which is a pure function of a text.
httpx._urls.urlparse = httpx._urlparse.urlparse = functools.lru_cache(8192)(  # type: ignore[attr-defined]
    httpx._urlparse.urlparse
)


class Network(httpx.AsyncBaseTransport):
    """Brings the requests of one machine to the simulator."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self._stage = stage
        self._machine = machine
        self._roads = stage.scenario.roads
        self._rng = stage.network_chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        roads, rng = self._roads, self._rng
        stage = self._stage
        stage.on_request(self._machine)
        await self._machine.travel(rng.choice(roads.latencies))
        if stage.api_away:
            raise httpx.ConnectError("the API is away")
        if roads.lost and rng.random() < roads.lost and not stage.is_calm:
            await self._lose()
        now = stage.clock.now()
        stage.sky.blow(now)
        stage.sky.answered(now)
        reply = stage.simulator.handle(
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
        if request.url.path.endswith("/runs") and self._stage.hides_runs:
            return f"{query}&status=paused"  # there are none
        size, params = self._roads.fixed_size, request.url.params
        if request.url.path.endswith("/events") and self._gives_another_page():
            number = int(params["page[number]"]) + 1
            return f"page[number]={number}&page[size]={params['page[size]']}"
        if size is None or not request.url.path.endswith("/events"):
            return query
        return f"page[number]={params['page[number]']}&page[size]={size}"

    def _gives_another_page(self) -> bool:
        share = self._roads.other_pages
        return share > 0 and not self._stage.is_calm and self._rng.random() < share

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
        offset = self._stage.sky.clock_offset
        if roads.wrong_dates and not self._stage.is_calm and rng.random() < roads.wrong_dates:
            offset += 3 * self._stage.scenario.lateness
        if offset:
            was = parsedate_to_datetime(date).timestamp()
            reply.headers["date"] = formatdate(was + offset, usegmt=True)
        if roads.no_dates and rng.random() < roads.no_dates:
            del reply.headers["date"]

    async def _deliver(self, request: httpx.Request, reply: Reply) -> httpx.Response:
        path = request.url.raw_path.decode().partition("/missions")[2]
        self._stage.tell(
            self._machine.name, f"asks {path}: {reply.status}, {len(reply.body)} bytes"
        )
        if reply.delay:
            await self._machine.travel(reply.delay)
        if reply.ending is Ending.WITHHELD:
            await self._machine.travel(1000.0)
        if reply.ending is Ending.DROPPED or reply.keep is not None:
            raise httpx.RemoteProtocolError("the connection was closed")
        headers: Any = reply.headers
        return httpx.Response(reply.status, headers=headers, content=reply.body)
