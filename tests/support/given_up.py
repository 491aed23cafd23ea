"""Both ends of a request that is given up: run as `support.given_up serve|ask ...` on two hosts.

Each does what a line of its input says and tells what happened in lines of its output.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys

from bridge.clock import Clock
from bridge.errors import ApiError
from bridge.missions import wire
from bridge.missions.client import MissionsClient
from bridge.missions.models import StartRun
from bridge.missions.pacing import RateBudget

TIMEOUT = 3.0
PORT = 8080
_EMPTY = json.dumps(
    {
        "data": [],
        "meta": {"page_number": 1, "page_size": 1, "total_pages": 0, "total_results": 0},
    }
)


def tell(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def serve(address: str) -> None:
    """Answer every request with an empty page, and tell its first line."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():  # a reset by a client ends this task alone
            tell(line.decode().strip())
            length = 0
            while (header := (await reader.readline()).decode().strip().lower()) != "":
                if header.startswith("content-length:"):
                    length = int(header.partition(":")[2])
            await reader.readexactly(length)
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(_EMPTY)}\r\n\r\n"
            writer.write((head + _EMPTY).encode())
            await writer.drain()

    server = await asyncio.start_server(talk, address, PORT)
    tell("ready")
    async with server:
        await server.serve_forever()


async def ask(address: str, mission_id: str, *, with_options: bool) -> None:
    """Connect, wait for a line of input, start a run and tell that it was given up."""
    wire._KEEPALIVE = 600.0  # the request has to leave on a connection that is there already
    if not with_options:
        plain = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire._socket_options = lambda timeout: [plain]
    clock = Clock()
    async with MissionsClient(
        base_url=f"http://{address}:{PORT}/v2",
        key=lambda: "key",
        budget=RateBudget(100, clock),
        clock=clock,
        timeout=TIMEOUT,
    ) as client:
        await client.probe()
        tell("ready")
        await asyncio.to_thread(sys.stdin.readline)
        try:
            await client.start_run(mission_id, StartRun())
        except ApiError as error:
            tell(f"given up, executed: {error.executed}")
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", where]:
            asyncio.run(serve(where))
        case ["ask", where, mission, options]:
            asyncio.run(ask(where, mission, with_options=options == "with"))
