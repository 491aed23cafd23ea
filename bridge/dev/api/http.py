"""From a synchronous `handle` to the wire: the ASGI application and the server around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bridge.dev.api.answers import Ending, SimulatedReply
from bridge.ops import serving as ops

Handle = Callable[[str, str, str, Mapping[str, str], bytes], SimulatedReply]
"""(method, raw path, query string, headers with lower-case names, body) -> Reply."""


def application(handle: Handle) -> Starlette:
    """An ASGI application that passes every request to `handle`."""
    return Starlette(routes=[Route("/{path:path}", _Endpoint(handle))])


class _Endpoint:
    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        path = cast("bytes", scope["raw_path"]).decode("latin-1")
        query = cast("bytes", scope["query_string"]).decode("latin-1")
        reply = self._handle(request.method, path, query, request.headers, body)
        if reply.delay and not await _stays(receive, reply.delay):
            return
        if reply.declared is not None:
            scope["state"]["transport"].write(_overrunning(reply, reply.declared))
        elif reply.ending is Ending.SENT:
            await _send(reply, receive, send)
        if reply.is_whole:
            return
        if reply.ending is Ending.DROPPED:
            scope["state"]["transport"].abort()
        if reply.ending is Ending.SENT:
            scope["state"]["transport"].close()
        await _gone(receive)


async def _send(reply: SimulatedReply, receive: Receive, send: Send) -> None:
    headers = {**reply.headers, "content-length": str(len(reply.body))}
    if reply.status == 204:
        del headers["content-length"]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    body = reply.body if reply.keep is None else reply.body[: reply.keep]
    if reply.pace is not None:
        # A tenth of a second's worth at a time, but never less than a byte.
        step = max(1, int(reply.pace / 10))
        for begin in range(0, len(body), step):
            part = body[begin : begin + step]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if not await _stays(receive, len(part) / reply.pace):
                return
        body = b""
    more = reply.keep is not None
    await send({"type": "http.response.body", "body": body, "more_body": more})


def _overrunning(reply: SimulatedReply, declared: int) -> bytes:
    """The answer as bytes: the server's own protocol refuses such a content-length."""
    headers = {**reply.headers, "content-length": str(declared)}
    lines = [
        f"HTTP/1.1 {reply.status} OK",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + reply.body


async def _gone(receive: Receive) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stays(receive: Receive, seconds: float) -> bool:
    """Wait so long, or until the client has left; whether it is still there."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(receive)
    except TimeoutError:
        return True
    return False


class _Protocol(H11Protocol):
    """Lets the application break its connection, and breaks those it keeps waiting at the end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"transport": transport}

    def shutdown(self) -> None:
        super().shutdown()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            self.transport.abort()


def serving(
    app: ASGIApp, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve an application that may break its connections; see `bridge.ops.serving`."""
    own: dict[str, Any] = {"http": _Protocol, "date_header": False, "timeout_keep_alive": 60}
    return ops.serving(app, host, port, **(own | options))
