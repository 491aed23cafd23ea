"""A clock of its own time, a client on a handler, and answers as the API gives them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bridge.clock import SECOND, Clock, Micros
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget

KEY = "KEY0123456789ABCDEF_canary"
MISSION = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
RUN = "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11"
BASE = "https://api.example.test/v2"

Handler = Callable[[httpx.Request], httpx.Response]


class FakeClock(Clock):
    """Time that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.slept: list[float] = []

    def now(self) -> Micros:
        return round(self.time * SECOND)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        self.slept.append(seconds)
        self.time += max(seconds, 0.0)
        await super().sleep(0)
        return stop is not None and stop.is_set()


def client_on(
    handler: Handler | None,
    *,
    base_url: str = BASE,
    key: str = KEY,
    clock: Clock | None = None,
    timeout: float = 10.0,
) -> MissionsClient:
    """Return a client on a handler, or on real sockets without one."""
    clock = clock or Clock()
    return MissionsClient(
        base_url=base_url,
        key=lambda: key,
        budget=RateBudget(10_000, clock),
        clock=clock,
        timeout=timeout,
        transport=handler and httpx.MockTransport(handler),
    )


def answering(*answers: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives these answers in turn, the last one for ever, and its log."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        answer = answers[min(len(seen), len(answers) - 1)]
        seen.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(
            answer.status_code, headers=answer.headers, content=answer.content or None
        )

    return handler, seen


def event(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an event as the API sends it."""
    return {
        "event_id": f"event-{number}",
        "run_id": RUN,
        "type": "tool_call",
        "summary": f"number {number}",
        "timestamp": "2026-03-09T16:39:27.132341Z",
        **fields,
    }


def run(**fields: Any) -> dict[str, Any]:
    """Return a run as the API sends it: with explicit nulls and a field nobody declared."""
    return {
        "run_id": RUN,
        "mission_id": MISSION,
        "organization_id": "3a1e3e40-0000-4000-8000-000000000001",
        "status": "pending",
        "started_at": "2026-03-09T16:39:27.132341Z",
        "updated_at": "2026-03-09T16:39:27.132341Z",
        "finished_at": None,
        "input": {"a": 1},
        "result_summary": None,
        "result_payload": None,
        "error": None,
        "metadata": None,
        **fields,
    }


def mission() -> dict[str, Any]:
    """Return a mission as the API sends it."""
    return {
        "mission_id": MISSION,
        "name": "a mission",
        "execution_mode": "external",
        "created_at": "2026-03-09T16:39:27Z",
        "updated_at": "2026-03-09T16:39:27Z",
        "description": None,
    }


def step(step_id: str = "step-1") -> dict[str, Any]:
    """Return a plan step as the API sends it."""
    return {
        "step_id": step_id,
        "run_id": RUN,
        "sequence": 1,
        "description": "call",
        "status": "pending",
        "parent_step_id": None,
    }


def agent() -> dict[str, Any]:
    """Return a linked agent as the API sends it."""
    created = "2026-03-09T16:39:27.132341Z"
    return {"run_id": RUN, "telnyx_agent_id": "assistant-1", "created_at": created}


def page(
    items: list[Any],
    number: int = 1,
    size: int = 1_000,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Return a page of a list."""
    meta = {"page_number": number, "page_size": size, "total_pages": 1, "total_results": 1}
    return ok({"data": items, "meta": meta}, headers=headers)


def ok(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """Return an answer with a JSON body."""
    return httpx.Response(status, headers=headers, content=json.dumps(document).encode())


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve on a real socket; yields the base URL. A client that leaves is no error."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
