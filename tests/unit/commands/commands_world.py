"""Time, an API and its rate budget that are all in memory and do as they are told."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import httpx

from bridge.clock import SECOND, Clock, Micros, utc
from bridge.missions.pacing import RateBudget

MISSION = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
RUN = "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11"
BEGAN: Micros = 1_772_000_000 * SECOND


class SimulatedClock(Clock):
    """Time that stands still while anything can go on, then leaps to whoever wakes next.

    `watched` are conditions that tests wait for: it does not leap past one that is met.
    """

    watched: ClassVar[dict[asyncio.Future[None], Callable[[], object]]] = {}

    def __init__(self) -> None:
        self.time = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self._driver: asyncio.Task[None] | None = None

    def now(self) -> Micros:
        return BEGAN + round(self.time * SECOND)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        if seconds <= 0 or (stop is not None and stop.is_set()):
            await super().sleep(0)
            return stop is not None and stop.is_set()
        wake = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._count), wake))
        if self._driver is None or self._driver.done():
            self._driver = asyncio.create_task(self._drive(), name="commands-clock")
        if stop is None:
            await wake
            return False
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({wake, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            wake.cancel()
        return stop.is_set()

    async def _drive(self) -> None:
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while self._sleepers:
            await super().sleep(0)
            if not (ready or self._is_met()):
                when, _, wake = heapq.heappop(self._sleepers)
                if not wake.done():
                    self.time = max(self.time, when)
                    wake.set_result(None)

    def _is_met(self) -> bool:
        """Wake whoever waits for what is so now; true if anybody does."""
        met = [wake for wake, condition in self.watched.items() if not wake.done() and condition()]
        for wake in met:
            wake.set_result(None)
        return bool(met)


class SimulatedBudget(RateBudget):
    """Requests at a rate, in the order of asking, on simulated time."""

    def __init__(self, rate: float, clock: Clock) -> None:
        super().__init__(rate, clock)
        self._every = 1 / rate
        self._next = 0.0

    async def acquire(self) -> None:
        now = self._clock.monotonic()
        self._next = max(now, self._next + self._every)
        await self._clock.sleep(self._next - now)
        while (wait := self._closed_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)


class FakeApi:
    """Runs and their events. `script` may answer or hold back requests; `effects` counts the rest.

    The script gets the operation and the request: what it returns is the answer, instead of or
    (when it awaited `carry_out` itself) after the effect; None lets the request through.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.runs: dict[str, dict[str, Any]] = {RUN: run()}
        self.events: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.bodies: list[str] = []
        self.effects: Counter[str] = Counter()
        self.script: Callable[[str, httpx.Request], Any] | None = None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        operation = self._operation(request)
        self.calls.append(operation)
        self.bodies.append(request.content.decode())
        if self.script is not None:
            answer = self.script(operation, request)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                assert isinstance(answer, httpx.Response)
                return answer
        return self.carry_out(operation, request)

    def carry_out(self, operation: str, request: httpx.Request) -> httpx.Response:
        """Do what is asked, as the API does."""
        body = json.loads(request.content or b"{}")
        if operation == "probe":
            return ok(listed([], request))
        if operation.startswith("list"):
            rows = self.events if operation == "list events" else list(self.runs.values())
            return ok(listed(rows, request))
        if operation == "start":
            number = len(self.runs)
            began = {"started_at": utc(self._clock.now()), "status": "pending"}
            made = run(run_id=f"00000000-0000-4000-8000-{number:012d}", **began, **body)
            self.runs[made["run_id"]] = made
            self.effects[body["metadata"]["bridge_command_id"]] += 1
            return ok({"data": made}, 201)
        if operation == "log":
            self.effects[body["idempotency_key"]] += 1
            event = {"event_id": "e", "run_id": RUN, "timestamp": utc(self._clock.now()), **body}
            self.events.append(event)
            return ok({"data": event}, 201)
        this = self.runs[request.url.path.split("/")[6]]
        if operation == "update":
            this.update(body)
        elif operation != "get":
            self.effects[operation] += 1
            this["status"] = {"pause": "paused", "resume": "running", "cancel": "cancelled"}[
                operation
            ]
        return ok({"data": this})

    @staticmethod
    def _operation(request: httpx.Request) -> str:
        if request.url.path.endswith("/missions/events"):
            return "probe"
        last = request.url.path.rpartition("/")[2]
        if request.method == "GET" and last in ("runs", "events"):
            return f"list {last}"
        known = {"runs": "start", "events": "log", "pause": "pause", "resume": "resume"}
        known["cancel"] = "cancel"
        return known.get(last) or {"GET": "get", "PATCH": "update"}[request.method]


def listed(rows: list[dict[str, Any]], request: httpx.Request) -> dict[str, Any]:
    """Return the page of rows that a request asks for, the newest first."""
    number, size = (int(request.url.params[f"page[{name}]"]) for name in ("number", "size"))
    meta = {
        "page_number": number,
        "page_size": size,
        "total_pages": -(-len(rows) // size),
        "total_results": len(rows),
    }
    return {"data": rows[::-1][(number - 1) * size : number * size], "meta": meta}


def run(**fields: Any) -> dict[str, Any]:
    """Return a run as the API sends it."""
    return {
        "run_id": RUN,
        "mission_id": MISSION,
        "status": "running",
        "started_at": "2026-02-24T16:39:27.132341Z",
        "updated_at": "2026-02-24T16:39:27.132341Z",
        "finished_at": None,
        **fields,
    }


def ok(document: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=json.dumps(document).encode())


def refusal(status: int, **headers: str) -> httpx.Response:
    errors = {"errors": [{"code": "10015", "title": "no", "detail": "not now"}]}
    return httpx.Response(status, headers=headers, content=json.dumps(errors).encode())
