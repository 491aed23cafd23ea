"""The demo's stage: which Kafka it takes, what it says without any, and that nothing stays."""

import asyncio
import os
from pathlib import Path
from typing import Self

import pytest

from bridge.clock import Clock
from bridge.config.models import KafkaSettings
from bridge.dev.api.simulator import Simulator
from bridge.dev.demo.stage import BridgeProcess, DemoFailed, Stage, Way, stage
from bridge.dev.servers.docker_kafka import IMAGE, docker_kafka
from bridge.dev.servers.keeper import KeptServer
from bridge.errors import DependencyAway
from bridge.kafka.client import KafkaClient

DOCKER = """#!/bin/sh
echo "$*" >> {calls}
case "$1" in
  version) exit {engine} ;;
  run) echo "Kafka Server started"; trap 'exit 0' TERM; while :; do sleep 0.1; done ;;
esac
"""

SLOW = """
import sys
from pathlib import Path
from bridge.dev.servers.keeper import keep

def start(server):
    Path(sys.argv[1]).write_text(str(server.folder))
    server.run(["sleep", "600"], server.folder / "log")
    server.wait_until(lambda: False, server.folder / "log", 600)

keep(start)
"""


class Missing(KeptServer):
    """A server that cannot be had."""

    def __init__(self, reason: str) -> None:
        super().__init__("")
        self._reason = reason

    def start(self) -> Self:
        raise DependencyAway(self._reason)


def fake_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, *, engine: int) -> Path:
    calls = folder / "calls"
    tool = folder / "docker"
    tool.write_text(DOCKER.format(calls=calls, engine=engine))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


def folder_in(note: Path) -> Path | None:
    """The folder that a note names, None while it says nothing."""
    return Path(note.read_text()) if note.exists() and note.read_text() else None


async def test_without_any_kafka_it_says_what_each_way_lacks(tmp_path: Path) -> None:
    ways = [
        Way("a wheel", lambda: Missing("none for this machine")),
        Way("Docker", lambda: Missing("no engine answers")),
    ]
    told: list[str] = []
    with pytest.raises(DependencyAway) as caught:
        async with stage(tmp_path, Simulator(clock=Clock()), ways, told.append):
            pass
    assert "a wheel: none for this machine; Docker: no engine answers" in str(caught.value)
    assert told == ["starting Kafka: a wheel", "starting Kafka: Docker"]


async def test_an_interrupt_while_kafka_starts_leaves_nothing(tmp_path: Path) -> None:
    script, noted = tmp_path / "slow.py", tmp_path / "noted"
    script.write_text(SLOW)
    ways = [Way("slow", lambda: KeptServer(str(script), str(noted)))]

    async def play() -> None:
        async with stage(tmp_path, Simulator(clock=Clock()), ways, lambda _: None):
            pass

    playing = asyncio.create_task(play())
    async with asyncio.timeout(30):
        while not (folder := folder_in(noted)):
            await Clock().sleep(0.02)
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
    assert not await asyncio.to_thread(folder.exists)


def test_kafka_in_docker_is_ended_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = fake_docker(tmp_path, monkeypatch, engine=0)
    with docker_kafka() as kept:
        port = kept.address.removeprefix("127.0.0.1:")
        started = calls.read_text().splitlines()[-1]
        assert started.startswith("run --rm --name mission-bridge-")
        assert f"--publish 127.0.0.1:{port}:{port}" in started
        assert f"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:{port}" in started
        assert started.endswith(IMAGE)
    name = started.split()[3]
    assert calls.read_text().splitlines()[-1] == f"rm --force {name}"


def test_a_docker_without_an_engine_is_no_docker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path, monkeypatch, engine=1)
    with pytest.raises(DependencyAway, match="no engine answers"):
        docker_kafka().start()


async def test_a_bridge_that_ends_at_its_start_is_told_with_its_log(tmp_path: Path) -> None:
    simulator = Simulator(clock=Clock())
    kafka = KafkaClient(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
    place = Stage(simulator, kafka, "", Way("none", lambda: Missing("")), "", "", tmp_path, {})
    process = await BridgeProcess.start(place)
    try:
        with pytest.raises(DemoFailed, match=r"(?s)exit status 78.*TELNYX_API_KEY"):
            await process.ready()
        assert not process.runs
    finally:
        await process.close()
