"""The ops port among strangers: they get few connections, and those not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.ops import connections
from bridge.ops.serving import serving

PATIENCE = 20.0
HALF = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
LARGE = 30_000_000
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, int]]:
    async def small(_: Request) -> Response:
        return Response(b"fine")

    async def large(_: Request) -> Response:
        return Response(bytes(LARGE))

    app = Starlette(routes=[Route("/livez", small), Route("/large", large)])
    async with serving(app, **connections.OPTIONS) as url:
        where = urlsplit(url)
        assert where.hostname
        assert where.port
        yield where.hostname, where.port


async def send(address: tuple[str, int], data: bytes) -> Stream:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def ended(stream: Stream) -> bytes:
    """Wait until the server ends a connection; what came before."""
    got = b""
    async with asyncio.timeout(PATIENCE):
        try:
            while data := await stream[0].read(1_000_000):
                got += data
        except ConnectionResetError:
            pass
    stream[1].close()
    return got


async def asked(address: tuple[str, int]) -> bytes:
    return await ended(await send(address, HALF + b"Connection: close\r\n\r\n"))


async def test_half_a_request_is_given_up(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    assert await ended(await send(address, HALF)) == b""
    assert await ended(await send(address, b"")) == b""


async def test_an_answer_that_nobody_reads_is_given_up(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)
    lost = asyncio.Event()
    was = connections.Connection.connection_lost

    def connection_lost(self: connections.Connection, error: Exception | None) -> None:
        was(self, error)
        lost.set()

    monkeypatch.setattr(connections.Connection, "connection_lost", connection_lost)
    stream = await send(address, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        await lost.wait()
    assert len(await ended(stream)) < LARGE


async def test_a_flood_of_half_requests_keeps_nobody_out(address: tuple[str, int]) -> None:
    flood = [await send(address, HALF) for _ in range(5 * connections.MOST_CONNECTIONS)]
    for _ in range(3):
        assert (await asked(address)).endswith(b"fine")
    first, *_, last = flood
    assert await ended(first) == b"", "the oldest made way"
    last[1].write(b"Connection: close\r\n\r\n")
    assert (await ended(last)).endswith(b"fine"), "the newest did not"
    for _, writer in flood:
        writer.close()
