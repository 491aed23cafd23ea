"""Real Apache Kafka (KRaft) in a container, for the demo where the embedded broker has no wheel."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import uuid

from bridge.dev.servers.java_kafka import VERSION
from bridge.dev.servers.keeper import KeptServer, Server, free_ports, keep
from bridge.errors import DependencyAway

IMAGE = f"apache/kafka:{VERSION}"

_ENGINE_SECONDS = 10.0
_START_SECONDS = 300.0  # the first time the image is fetched


def docker_kafka() -> KeptServer:
    """Return Apache Kafka, not started; starting it raises DependencyAway without a Docker engine.

    Nothing of it stays but the image.
    """
    return KeptServer(__file__)


def _engine() -> str:
    """Return the path of the client if an engine answers it: a client alone cannot run anything."""
    path = shutil.which("docker")
    if path is None:
        raise DependencyAway("there is no `docker`")
    try:
        done = subprocess.run(  # noqa: S603 - found on the path
            [path, "version"], capture_output=True, timeout=_ENGINE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DependencyAway("the Docker engine does not answer") from None
    if done.returncode != 0:
        raise DependencyAway("there is a `docker`, but no engine answers it")
    return path


def _settings(port: int) -> dict[str, str]:
    return {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LISTENERS": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://localhost:9093",
        "ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }


def _start(server: Server) -> str:
    docker = _engine()
    (port,) = free_ports(1)
    name = f"mission-bridge-{uuid.uuid4().hex[:12]}"
    command = [docker, "run", "--rm", "--name", name, "--publish", f"127.0.0.1:{port}:{port}"]
    for variable, value in _settings(port).items():
        command += ["--env", f"KAFKA_{variable}={value}"]
    # Ending the client ends the container, unless the client has to be killed.
    remove = [docker, "rm", "--force", name]
    atexit.register(subprocess.run, remove, capture_output=True, check=False)
    log = server.folder / "log"
    server.run([*command, IMAGE], log)
    server.wait_until(lambda: "Kafka Server started" in log.read_text(), log, _START_SECONDS)
    return f"127.0.0.1:{port}"


if __name__ == "__main__":
    keep(_start)
