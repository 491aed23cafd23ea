"""The bridge as a process: what its surroundings do to its streams, its signals and its port."""

import os
import resource
import signal
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.brokers import Broker
from support.kafka import read_topic
from support.stage import COMMAND, Stage, stage, wait_for

EVENTS = 100


def start(scene: Stage, redirect: str, output: int | None = None) -> "subprocess.Popen[bytes]":
    """Start a bridge from a shell that redirects its streams; else both are `output`."""
    return subprocess.Popen(
        ["/bin/bash", "-c", f'exec "$@" {redirect}', "-", COMMAND, "run", "--only", "events"],
        env=scene.env(),
        cwd=scene.folder,
        stdout=output,
        stderr=output,
    )


def expect_work(scene: Stage, bridge: "subprocess.Popen[bytes]") -> None:
    """See events come to Kafka until now and from now on, and the bridge end in good order."""
    try:
        wait_for(lambda: events_on_kafka(scene) == EVENTS)
        scene.insert(20)
        wait_for(lambda: events_on_kafka(scene) == EVENTS + 20)
        bridge.terminate()
        assert bridge.wait(30) == 0
    finally:
        bridge.kill()
        bridge.wait(30)


def events_on_kafka(scene: Stage) -> int:
    return len(read_topic(scene.broker, f"{scene.prefix}.events"))


@pytest.mark.parametrize(
    "redirect",
    [
        ">&- 2> log",
        "> /dev/full 2> log",
        "> >(true) 2> >(true)",
        "> /dev/full 2> /dev/full",
        "<&- >&- 2>&-",
    ],
)
def test_events_flow_whatever_becomes_of_the_streams(
    kafka: Broker, topic_prefix: str, tmp_path: Path, redirect: str
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=EVENTS) as scene:
        expect_work(scene, start(scene, redirect))


def test_events_flow_though_nobody_reads_the_streams(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with suppress(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        os.set_blocking(write, True)
        with stage(kafka, topic_prefix, tmp_path, events=EVENTS) as scene:
            expect_work(scene, start(scene, "", write))
    finally:
        os.close(read)
        os.close(write)


def test_a_flood_of_half_requests_on_the_ops_port_is_not_noticed(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=EVENTS) as scene, ExitStack() as flood:
        bridge = scene.run("--only", "events").ready()
        resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (128, 128))
        where = urlsplit(bridge.ops)
        for _ in range(300):
            half = flood.enter_context(socket.create_connection((where.hostname, where.port)))
            half.send(b"GET /livez HTTP/1.1\r\n")
        scene.insert(20)
        wait_for(lambda: bridge.published == EVENTS + 20)
        assert not bridge.reason
        assert bridge.stop() == 0
        assert bridge.output.count("out of system resource") <= 1


def test_a_hangup_drains(kafka: Broker, topic_prefix: str, tmp_path: Path) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=EVENTS) as scene:
        bridge = scene.run("--only", "events").ready()
        bridge.signal(signal.SIGHUP)
        bridge.signal(signal.SIGTERM)  # systemd may send both
        assert bridge.wait() == 0
        assert '"drained"' in bridge.output
