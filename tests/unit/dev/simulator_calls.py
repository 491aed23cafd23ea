"""Calls to a simulator without HTTP, at a time that the test sets."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

from bridge.clock import SECOND, Clock, Micros
from bridge.dev.api.answers import SimulatedReply
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.simulator import Simulator

START: Micros = 1_770_000_000 * SECOND
MISSIONS = "/v2/ai/missions"


class StillClock(Clock):
    """Time moves only when it is told to."""

    def __init__(self, at: Micros = START) -> None:
        self.at = at

    def now(self) -> Micros:
        return self.at

    def pass_by(self, seconds: float) -> None:
        self.at += int(seconds * SECOND)

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        self.pass_by(seconds)
        return stop is not None and stop.is_set()


class Calls:
    """A simulator at a still clock, and short names for requests to it."""

    def __init__(
        self,
        *,
        events: int = 0,
        rate: float = 0.0,
        seed: int = 1,
        api_key: str | None = None,
        **behaviour: Any,
    ) -> None:
        self.clock = StillClock()
        self.simulator = Simulator(
            clock=self.clock,
            seed=seed,
            events=events,
            rate=rate,
            api_key=api_key,
            behaviour=Behaviour(**behaviour),
        )

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> SimulatedReply:
        """The raw answer; `size` and `page` stand for page[size] and page[number]."""
        names = {"size": "page[size]", "page": "page[number]"}
        text = urlencode({names.get(name, name): value for name, value in query.items()})
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        headers = {"authorization": "Bearer KEY"}
        return self.simulator.handle(method, MISSIONS + path, text, headers, raw)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that must succeed."""
        return self._ok(self.ask("GET", path, **query))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """The `data` of a write that must succeed."""
        answer = self._ok(self.ask(method, path, body))
        return None if answer is None else answer["data"]

    def control(self, name: str, value: Any = None) -> Any:
        """Ask the control endpoint: GET without a value, else POST."""
        return self.simulator.control(name, value)

    def feed(self, size: int = 1000, **query: Any) -> list[dict[str, Any]]:
        """The whole feed, page by page."""
        found: list[dict[str, Any]] = []
        page = 1
        while items := self.get("/events", size=size, page=page, **query)["data"]:
            found += items
            page += 1
        return found

    def a_mission(self) -> str:
        """The path of a new mission."""
        return "/" + str(self.send("POST", "", {"name": "m"})["mission_id"])

    def a_run(self, mission: str | None = None) -> str:
        """The path of a new run."""
        mission = mission or self.a_mission()
        return f"{mission}/runs/{self.send('POST', f'{mission}/runs')['run_id']}"

    @staticmethod
    def _ok(reply: SimulatedReply) -> Any:
        assert reply.status < 300, reply.body
        return json.loads(reply.body) if reply.body else None


def problem(reply: SimulatedReply) -> tuple[int, str, str | None]:
    """(status, code, pointer or parameter) of the first error in Telnyx form."""
    error = json.loads(reply.body)["errors"][0]
    source = error.get("source", {})
    return reply.status, error["code"], source.get("pointer") or source.get("parameter")
