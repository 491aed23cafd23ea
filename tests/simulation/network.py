"""The way to the API and back: time passes, answers get lost, machines freeze and die on it.

It stands in for the client's wire: what httpx makes of a request costs more than all the rest of a
story, and is tried elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import formatdate, parsedate_to_datetime

import httpx

from bridge.dev.api import answers
from bridge.missions.faults import FOREIGN, refused, translated
from bridge.missions.pacing import asked_wait
from bridge.missions.wire import RawAnswer
from simulation.stage import Stage
from simulation.virtual import Machine

KEY = {"authorization": "Bearer KEY0123456789ABCDEF"}
TIMEOUT = 30.0
"""Seconds after which a request is given up."""

LONG = 1000.0
"""Seconds until an answer that nobody waits for any more."""


class Network:
    """Brings the requests of one machine to the simulator, as a `Wire` does."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        self._stage = stage
        self._machine = machine
        self._roads = stage.scenario.roads
        self._rng = stage.network_chance
        self._free_at = 0.0

    async def exchange(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: str | None = None,
        check: Callable[[], None] | None = None,
    ) -> RawAnswer:
        """Send one request and return its 2xx answer; raises what `Wire.exchange` does."""
        assert body is None, "sources only read"
        what = f"{operation} ({method} {path or '/'})"
        loop = self._stage.loop
        await self._wait_for_budget()
        sent = loop.time()
        try:
            async with asyncio.timeout(TIMEOUT):
                reply = await self._send(method, path, params or {})
        except FOREIGN as error:
            raise translated(what, error) from error
        headers = reply.headers
        if 200 <= reply.status < 300:
            return RawAnswer(what, reply.status, headers, reply.body, sent, loop.time() - sent)
        wait = asked_wait(headers, self._stage.clock.now())
        text = reply.body.decode(errors="replace")
        raise refused(what, reply.status, httpx.Headers(headers), text, wait)

    async def _wait_for_budget(self) -> None:
        """Wait as a client with a rate budget does."""
        cost, now = self._stage.scenario.cost, self._stage.loop.time()
        if cost is None or self._stage.is_calm:
            return
        at = max(now, self._free_at)
        self._free_at = at + 1 / cost.budget
        await self._machine.travel(at - now)

    async def _send(
        self, method: str, path: str, params: Mapping[str, str | int]
    ) -> answers.SimulatedReply:
        """Let a request travel to the simulator, and its answer back."""
        roads, rng, stage = self._roads, self._rng, self._stage
        stage.on_request(self._machine, path)
        await self._machine.travel(rng.choice(roads.latencies))
        if stage.api_away:
            raise httpx.ConnectError("the API is away")
        if roads.lost and rng.random() < roads.lost and not stage.is_calm:
            await self._lose()
        now = stage.clock.now()
        stage.sky.blow(now)
        stage.sky.answered(now)
        query = "&".join(f"{name}={value}" for name, value in self._spoiled(path, params).items())
        reply = stage.simulator.handle(method, f"/v2/ai/missions{path}", query, KEY)
        self._spoil_date(reply)
        if rng.random() < 0.25:
            await self._machine.travel(rng.choice(roads.latencies))
        else:
            await self._machine.gate()
        return await self._deliver(f"{path}?{query}", reply)

    def _spoiled(self, path: str, params: Mapping[str, str | int]) -> Mapping[str, str | int]:
        """Return what the API takes for the parameters of a request."""
        if path.endswith("/runs") and self._stage.hides_runs:
            return {**params, "status": "paused"}  # there are none
        if not path.endswith("/events"):
            return params
        if self._gives_another_page():
            return {**params, "page[number]": int(params["page[number]"]) + 1}
        size = self._roads.fixed_size
        return params if size is None else {**params, "page[size]": size}

    def _gives_another_page(self) -> bool:
        share = self._roads.other_pages
        return share > 0 and not self._stage.is_calm and self._rng.random() < share

    async def _lose(self) -> None:
        kind = self._rng.randrange(3)
        if kind == 0:
            raise httpx.ConnectError("refused")
        if kind == 1:
            raise httpx.ReadError("reset")
        await self._machine.travel(LONG)

    def _spoil_date(self, reply: answers.SimulatedReply) -> None:
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

    async def _deliver(self, asked: str, reply: answers.SimulatedReply) -> answers.SimulatedReply:
        self._stage.tell(
            self._machine.name, f"asks {asked}: {reply.status}, {len(reply.body)} bytes"
        )
        if reply.delay:
            await self._machine.travel(reply.delay)
        if reply.ending is answers.Ending.WITHHELD:
            await self._machine.travel(LONG)
        if reply.ending is answers.Ending.DROPPED or reply.keep is not None:
            raise httpx.RemoteProtocolError("the connection was closed")
        return reply
