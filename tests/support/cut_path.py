"""A program for a network namespace of its own: a path is cut under requests, and healed later.

Two clients send a request into the cut and give it up: the bridge's own, and one without its socket
options. Two connections do the same and are not closed, as those of a process that was frozen.
Prints, as JSON, whose request the server got in the end, once those without the options were there.
"""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from unittest.mock import patch

from bridge.clock import Clock
from bridge.errors import ApiError
from bridge.missions import wire
from bridge.missions.client import MissionsClient
from bridge.missions.models import StartRun
from bridge.missions.pacing import RateBudget

TIMEOUT = 3.0
BARE = {"bare", "bare-frozen"}
MISSION = "00000000-0000-4000-8000-000000000000"
PAGE = b'{"data":[],"meta":{"page_number":1,"page_size":1000,"total_pages":0,"total_results":0}}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
_CLOCK = Clock()


def path(state: str) -> None:
    """Cut the path ("down") or heal it ("up"): all of this namespace's traffic goes through lo."""
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def client_of(name: str, port: int) -> MissionsClient:
    return MissionsClient(
        base_url=f"http://127.0.0.1:{port}/{name}/v2",
        key=lambda: "KEY",
        budget=RateBudget(100, _CLOCK),
        clock=_CLOCK,
        timeout=TIMEOUT,
    )


def both(port: int) -> dict[str, MissionsClient]:
    ours = client_of("ours", port)
    with patch("bridge.missions.wire._socket_options", return_value=[]):
        return {"ours": ours, "bare": client_of("bare", port)}


def frozen(port: int) -> dict[str, socket.socket]:
    connections = {name: socket.create_connection(("127.0.0.1", port)) for name in ("ours", "bare")}
    for option in wire._socket_options(TIMEOUT):
        connections["ours"].setsockopt(*option)
    return connections


def server(got: list[str]) -> Callable[..., Awaitable[None]]:
    """Answer GET; note whose POST comes and say nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError
        with suppress(*ended):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, *_ = head.decode().split()
                if method == "POST":
                    got.append(target.split("/")[1])
                    return
                writer.write(HEAD + PAGE)

    return serve


async def send_into_the_cut(client: MissionsClient) -> None:
    with suppress(ApiError):
        await client.start_run(MISSION, StartRun())
        raise AssertionError("an answer came through the cut")


async def main(seconds: float) -> None:
    path("up")
    got: list[str] = []
    listening = await asyncio.start_server(server(got), "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    clients, connections = both(port), frozen(port)
    for client in clients.values():
        await client.list_missions()
    path("down")
    for name, connection in connections.items():
        connection.send(f"POST /{name}-frozen/ HTTP/1.1\r\n\r\n".encode())
    await asyncio.gather(*map(send_into_the_cut, clients.values()))
    assert not got
    await _CLOCK.sleep(seconds - TIMEOUT)
    path("up")
    async with asyncio.timeout(3 * seconds):
        while not set(got) >= BARE:
            await _CLOCK.sleep(0.1)
    print(json.dumps(sorted(got)))  # noqa: T201 - its only output


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
