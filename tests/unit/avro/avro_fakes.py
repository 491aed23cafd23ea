"""An embedded registry behind a wire that can be watched and cut, and a clock that stands still."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from bridge.avro.registry import Registry
from bridge.clock import Clock
from bridge.dev.servers.registry import RegistryServer


class StillClock(Clock):
    """Monotonic time that moves when the test says so."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def monotonic(self) -> float:
        return self.time


class HurriedClock(Clock):
    """Waits for nothing, and keeps what it was asked to wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        self.waits.append(seconds)
        return await super().sleep(0, stop)


class Wire(httpx.AsyncBaseTransport):
    """Passes requests to an embedded registry, in process."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.cut = False
        self.server = RegistryServer()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.cut:
            raise httpx.ConnectError("cut", request=request)
        self.requests.append(f"{request.method} {request.url.raw_path.decode()}")
        return await httpx.ASGITransport(app=self.server.app).handle_async_request(request)


def registry_over(transport: httpx.AsyncBaseTransport, url: str = "http://registry") -> Registry:
    return Registry(url, transport=transport)


def record(name: str, *fields: tuple[str, Any], namespace: str = "missionbridge.v1") -> str:
    """The text of a record schema; a field is a name and a type."""
    return json.dumps(
        {
            "type": "record",
            "name": name,
            "namespace": namespace,
            "fields": [{"name": field, "type": kind} for field, kind in fields],
        }
    )


EVENT: dict[str, Any] = {
    "event_id": "evt-1",
    "run_id": "2f1e4a9c-6f0e-4a27-9a55-0d2f8d7f4a11",
    "mission_id": None,
    "type": "tool_call",
    "summary": "Grüße, 世界 🚀",
    "timestamp": 1_772_000_000_123_456,
    "step_id": "step-1",
    "agent_id": None,
    "idempotency_key": None,
    "payload": '{"n":12345678901234567890.10}',
    "late": False,
    "ingested_at": 1_772_000_001_000_000,
    "extra": None,
}

COMMAND: dict[str, Any] = {
    "command_id": "cmd-1",
    "type": "start_run",
    "mission_id": "0b0f3f4e-74a5-4a0c-8f7e-6f9d5d0c1b22",
    "run_id": None,
    "account": None,
    "issued_at": 1_772_000_000_000_000,
    "expires_at": None,
    "issuer": "someone",
    "on_doubt": None,
    "body": ("missionbridge.v1.StartRun", {"input": '{"a":1}', "metadata": None}),
}
