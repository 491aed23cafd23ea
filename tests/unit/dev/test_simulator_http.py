"""What a client sees of the simulator on the wire, and the process around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import IO, Any

import httpx
import pytest

from bridge.clock import Clock
from bridge.dev.api.http import serving
from bridge.dev.api.simulator import Simulator


@contextlib.asynccontextmanager
async def client_of(simulator: Simulator, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": "Bearer KEY"}
    async with (
        serving(simulator.app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, **options) as client,
    ):
        yield client


async def fault(client: httpx.AsyncClient, **value: Any) -> None:
    (await client.post("/_control/faults", json={"times": 1, **value})).raise_for_status()


EVENTS = "/v2/ai/missions/events?page[size]=1000"


async def received(client: httpx.AsyncClient) -> tuple[int, int]:
    """How many bytes of the body are declared and how many come before the connection ends."""
    got = 0
    async with client.stream("GET", EVENTS) as answer:
        try:
            async for part in answer.aiter_bytes():
                got += len(part)
        except httpx.RemoteProtocolError:
            pass
        return int(answer.headers["content-length"]), got


async def test_a_cut_body_is_shorter_than_it_says(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(Simulator(clock=Clock(), events=100)) as client:
        whole, got = await received(client)
        assert whole == got
        for keep in (0, 17, whole - 1):
            await fault(client, kind="cut", keep=keep)
            assert await received(client) == (whole, keep)
        await fault(client, kind="cut")
        assert await received(client) == (whole, whole // 2)
        assert await received(client) == (whole, whole)
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_an_overrunning_body_is_longer_than_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client_of(Simulator(clock=Clock(), events=100)) as client:
        whole = (await client.get(EVENTS)).content
        for declared in (0, 17, len(whole) - 1):
            await fault(client, kind="overrun", declared=declared)
            assert (await client.get(EVENTS)).content == whole[:declared]
        assert (await client.get(EVENTS)).content == whole
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_a_dropped_connection_gives_no_answer_and_the_effect_stays() -> None:
    simulator = Simulator(clock=Clock())
    async with client_of(simulator) as client:
        await fault(client, kind="drop")
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.post("/v2/ai/missions", json={"name": "m"})
        listed = (await client.get("/v2/ai/missions")).json()
        assert [mission["name"] for mission in listed["data"]] == ["m"]
        assert simulator.ledger()["requests"]["create_mission"] == {"dropped": 1}


async def test_an_answer_is_withheld_after_the_effect() -> None:
    simulator = Simulator(clock=Clock())
    async with client_of(simulator) as client:
        await fault(client, kind="withhold")
        waiting = await asked(simulator, client.post("/v2/ai/missions", json={"name": "m"}))
        assert (await client.get("/v2/ai/missions")).json()["meta"]["total_results"] == 1
        assert not waiting.done()
        waiting.cancel()


async def asked(
    simulator: Simulator, request: Coroutine[Any, Any, httpx.Response]
) -> asyncio.Task[httpx.Response]:
    """A request that the simulator has got, and perhaps not answered."""
    seen = requests(simulator)
    task = asyncio.create_task(request)
    async with asyncio.timeout(30):
        while requests(simulator) == seen:
            await Clock().sleep(0)
    return task


def requests(simulator: Simulator) -> int:
    return int(simulator.ledger()["summary"]["requests"])


async def test_slow_answers_come_late_and_whole() -> None:
    clock = Clock()
    async with client_of(Simulator(clock=clock, events=3)) as client:
        whole = (await client.get(EVENTS)).content
        for slow in ({"seconds": 0.2}, {"pace": len(whole) * 5}):
            await fault(client, kind="slow", **slow)
            begin = clock.monotonic()
            assert (await client.get(EVENTS)).content == whole
            assert clock.monotonic() - begin > 0.15


async def test_requests_that_are_kept_waiting_do_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    simulator = Simulator(clock=Clock())
    headers = {"Authorization": "Bearer KEY"}
    async with httpx.AsyncClient(headers=headers, trust_env=False, timeout=60) as client:
        waiting = []
        async with serving(simulator.app) as url:
            client.base_url = url
            for kind in ({"kind": "withhold"}, {"kind": "slow", "seconds": 300}):
                await fault(client, **kind)
                waiting.append(await asked(simulator, client.get(EVENTS)))
        for request in waiting:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await request
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


async def test_a_delete_has_no_body_and_the_connection_goes_on() -> None:
    limits = httpx.Limits(max_connections=1)
    async with client_of(Simulator(clock=Clock()), limits=limits) as client:
        made = (await client.post("/v2/ai/missions", json={"name": "m"})).json()["data"]
        gone = await client.delete(f"/v2/ai/missions/{made['mission_id']}")
        assert (gone.status_code, gone.content, "content-length" in gone.headers) == (
            204,
            b"",
            False,
        )
        assert (await client.get("/v2/ai/missions")).json()["data"] == []


async def test_the_ledger_is_read_in_parts() -> None:
    async with client_of(Simulator(clock=Clock(), events=5)) as client:
        await client.get(EVENTS)
        whole = (await client.get("/_control/ledger")).json()
        assert set(whole) == {"summary", "events", "effects", "requests"}
        some = (await client.get("/_control/ledger?part=summary&part=requests")).json()
        assert some["summary"]["shown"] == 5
        assert some["requests"] == {"list_events": {"200": 1}}
        assert (await client.get("/_control/ledger?part=rumours")).status_code == 400


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    program = "import sys; from bridge.cli import main; sys.exit(main())"
    started = subprocess.Popen(
        [sys.executable, "-c", program, "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def output(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_when_asked(number: signal.Signals) -> None:
    arguments = ("--events", "30", "--set", "newest_only=20", "--api-key", "KEY")
    broken = json.dumps({"kind": "status", "status": 503, "operation": "get_mission"})
    with process(*arguments, "--fault", broken) as simulator:
        ready = json.loads(output(simulator.stdout).readline())
        assert ready["event"] == "ready"
        with httpx.Client(headers={"Authorization": "Bearer KEY"}, trust_env=False) as client:
            feed = client.get(f"{ready['url']}/ai/missions/events").json()
            assert feed["meta"]["total_results"] == 20
            assert client.get(f"{ready['url']}/ai/missions/x").status_code == 503
        simulator.send_signal(number)
        assert simulator.wait(30) == 0
        assert output(simulator.stdout).read() == ""
        assert output(simulator.stderr).read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "order"), "NAME=VALUE"),
        (("--set", "order=up"), "order"),
        (("--set", "colour=red"), "colour"),
        (("--fault", '{"kind": "plague"}'), "plague"),
        (("--fault", "{"), "Expecting"),
    ],
)
def test_the_command_names_what_it_cannot_understand(arguments: tuple[str, ...], said: str) -> None:
    with process(*arguments) as simulator:
        assert simulator.wait(30) == 64
        assert said in output(simulator.stderr).read()


def test_the_command_says_when_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process("--port", str(port)) as simulator:
            assert simulator.wait(30) == 78
            assert f"127.0.0.1:{port}" in output(simulator.stderr).read()
