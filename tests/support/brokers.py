"""The Kafka brokers and the registry that tests run on, and why one cannot be had."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.dev.servers.embedded_kafka import embedded_broker, evict_members
from bridge.dev.servers.java_kafka import VERSION, java_kafka
from bridge.dev.servers.keeper import KeptServer, free_ports
from bridge.errors import DependencyAway
from support import apicurio

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mission-bridge"
IN_CI = os.environ.get("CI", "").lower() == "true"


@dataclass(frozen=True)
class Broker:
    """A running Kafka; `pids` are its processes where it runs on this machine for these tests."""

    address: str
    description: str
    real: bool
    pids: tuple[int, ...] = ()

    async def expire_sessions(self) -> None:
        """After a process was killed: let its groups know, where the broker does not by itself."""
        if not self.real:
            await evict_members(self.address)


@contextmanager
def embedded() -> Iterator[Broker]:
    """Run the embedded broker."""
    with embedded_broker() as kept:
        yield Broker(kept.address, "embedded broker", real=False, pids=tuple(kept.pids))


@contextmanager
def real() -> Iterator[Broker]:
    """Run or find an Apache Kafka. Raises DependencyAway with the reason for each way tried."""
    with ExitStack() as stack:
        yield _first([_given, _container, _local], stack)


@contextmanager
def limited(*properties: str) -> Iterator[Broker]:
    """Run an Apache Kafka with properties of a test's own. Raises DependencyAway."""
    with java_kafka(1, CACHE, *properties) as kept:
        yield Broker(kept.address, " ".join(properties), real=True, pids=tuple(kept.pids))


@contextmanager
def registry() -> Iterator[tuple[str, str]]:
    """Run or find a real schema registry: its URL and what it is. Raises DependencyAway."""
    given = os.environ.get("BRIDGE_TEST_REGISTRY")
    if given:
        yield given, "BRIDGE_TEST_REGISTRY"
        return
    with apicurio.apicurio(CACHE) as kept:
        yield kept.address, f"Apicurio {apicurio.VERSION} from Maven Central, local process"


def _first(ways: list[Callable[[ExitStack], Broker]], stack: ExitStack) -> Broker:
    reasons = []
    for way in ways:
        try:
            return way(stack)
        except DependencyAway as reason:
            reasons.append(str(reason))
    raise DependencyAway("; ".join(reasons))


def _given(_: ExitStack) -> Broker:
    address = os.environ.get("BRIDGE_TEST_KAFKA")
    if not address:
        raise DependencyAway("BRIDGE_TEST_KAFKA is not set")
    return Broker(address, f"{address} (BRIDGE_TEST_KAFKA)", real=True)


def _container(stack: ExitStack) -> Broker:
    """Run Apache's own image, if there is an engine: a client alone cannot run it."""
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    if (
        not shutil.which("docker")
        or subprocess.run(asked, capture_output=True, check=False).returncode
    ):
        raise DependencyAway("no Docker engine answers")
    from docker.errors import DockerException  # noqa: PLC0415 - slow, and only needed here
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    (port,) = free_ports(1)
    container = DockerContainer(f"apache/kafka:{VERSION}").with_bind_ports(port, port)
    for name, value in {
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
        "GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
    }.items():
        container = container.with_env(f"KAFKA_{name}", value)
    container.waiting_for(LogMessageWaitStrategy("Kafka Server started"))
    try:
        stack.enter_context(container)
    except (DockerException, TimeoutError) as error:
        raise DependencyAway(f"Docker could not run apache/kafka:{VERSION}: {error}") from error
    return Broker(f"127.0.0.1:{port}", f"Apache Kafka {VERSION}, container", real=True)


def _local(stack: ExitStack) -> Broker:
    kept: KeptServer = stack.enter_context(java_kafka(cache=CACHE))
    what = f"Apache Kafka {VERSION} from Maven Central, local process"
    return Broker(kept.address, what, real=True, pids=tuple(kept.pids))
