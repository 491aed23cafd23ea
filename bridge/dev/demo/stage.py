"""What the demo plays on: a Kafka, a registry, a simulated API, and the bridge's own process.

All of it is on this machine, on ports of its own choosing, and gone when the stage is left.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, NamedTuple

import httpx

import bridge
from bridge.avro.registry import Registry
from bridge.avro.subjects import register_all
from bridge.clock import Clock
from bridge.config.models import KafkaSettings
from bridge.dev.api.http import serving
from bridge.dev.api.simulator import Simulator
from bridge.dev.servers.docker_kafka import docker_kafka
from bridge.dev.servers.embedded_kafka import embedded_broker, evict_members
from bridge.dev.servers.java_kafka import java_kafka
from bridge.dev.servers.keeper import KeptServer
from bridge.dev.servers.registry import RegistryServer
from bridge.errors import DependencyAway, Never
from bridge.kafka import topics
from bridge.kafka.client import KafkaClient

PREFIX = KafkaSettings().topic_prefix

_SESSION_SECONDS = 6  # until a killed bridge's work goes to the next; brokers allow no less
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_LOG_LINES = 12


class DemoFailed(Never):
    """What should have happened on the stage did not."""


class Way(NamedTuple):
    """A way to get a Kafka; `evict` does what it should do when a session has timed out."""

    name: str
    make: Callable[[], KeptServer]
    evict: Callable[[str], Awaitable[None]] | None = None
    fetched: bool = False
    """Whether it comes from the network the first time."""


WAYS = (
    Way("embedded broker", embedded_broker, evict_members),
    Way("Apache Kafka in Docker", docker_kafka, fetched=True),
    Way("Apache Kafka by Java and Maven", java_kafka, fetched=True),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Stage:
    """Where everything is; `settings` are the bridge's, by variable."""

    simulator: Simulator
    kafka: KafkaClient
    kafka_address: str
    way: Way
    registry_url: str
    api_url: str
    folder: Path
    settings: Mapping[str, str]

    async def end_sessions(self) -> None:
        """Once a killed bridge has been silent for a session: let its place in the groups go.

        Apache Kafka does it by itself, the embedded broker has to be told.
        """
        if self.way.evict is not None:
            await self.way.evict(self.kafka_address)


@asynccontextmanager
async def stage(
    folder: Path, simulator: Simulator, ways: Sequence[Way], tell: Callable[[str], None]
) -> AsyncIterator[Stage]:
    """Set the stage with topics and schemas, as `topics apply` and `schemas register` do.

    `tell` gets a line for each step. Raises DependencyAway where no way leads to a Kafka.
    """
    async with (
        _kafka(ways, tell) as (way, address),
        serving(RegistryServer().app) as registry_url,
        serving(simulator.app) as api_url,
    ):
        kafka = KafkaClient(KafkaSettings(bootstrap_servers=address))
        specs = topics.topic_specs(PREFIX)
        await topics.apply(kafka, await topics.plan(kafka, specs, -1), Clock())
        registry = Registry(registry_url)
        try:
            await register_all(registry, PREFIX)
        finally:
            await registry.aclose()
        tell(f"Kafka at {address} ({way.name}), registry at {registry_url}, API at {api_url}")
        settings = {
            "TELNYX_API_KEY": "KEY_demo",
            "TELNYX_BASE_URL": f"{api_url}/v2",
            "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": address,
            "BRIDGE_KAFKA__SESSION_TIMEOUT": str(_SESSION_SECONDS),
            "BRIDGE_REGISTRY__URL": registry_url,
            "BRIDGE_SOURCE__POLL_INTERVAL": "1",
            "BRIDGE_OPS__PORT": "0",
            "BRIDGE_LOG__FORMAT": "console",
        }
        yield Stage(simulator, kafka, address, way, registry_url, api_url, folder, settings)


@asynccontextmanager
async def _kafka(
    ways: Sequence[Way], tell: Callable[[str], None]
) -> AsyncIterator[tuple[Way, str]]:
    """Run the first Kafka that can be had; yields the way and where it listens."""
    reasons = []
    for way in ways:
        tell(f"starting Kafka: {way.name}{', fetched the first time' if way.fetched else ''}")
        kept = way.make()
        try:
            await _start(kept)
        except DependencyAway as error:
            reasons.append(f"{way.name}: {error}")
            continue
        try:
            yield way, kept.address
        finally:
            await asyncio.to_thread(kept.stop)
        return
    raise DependencyAway("the demo needs a Kafka and can have none. " + "; ".join(reasons))


async def _start(kept: KeptServer) -> None:
    starting = asyncio.ensure_future(asyncio.to_thread(kept.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.to_thread(kept.stop)  # makes the start fail
        await asyncio.wait({starting})
        await asyncio.to_thread(kept.stop)  # if it had not begun
        starting.exception()
        raise


class BridgeProcess:
    """`mission-bridge run`, with the stage's settings alone, whatever the shell has."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._client = httpx.AsyncClient(trust_env=False, timeout=2)

    @classmethod
    async def start(cls, place: Stage) -> BridgeProcess:
        """Start it; `ready` waits for it."""
        log = place.folder / "bridge.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bridge.cli",
                "run",
                env=place.settings,
                cwd=Path(bridge.__file__).parents[1],  # where this package is imported from
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                start_new_session=True,  # an interrupt on the terminal is for the demo
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it is still there."""
        return self._process.returncode is None

    async def ready(self) -> None:
        """Wait for the line that says so. Raises DemoFailed."""
        if self._process.stdout is None:
            raise AssertionError("a pipe was asked for")
        try:
            async with asyncio.timeout(_READY_SECONDS):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self.failed(f"was not ready within {_READY_SECONDS:.0f} s") from None
        if not line:
            raise self.failed(f"ended with exit status {await self._process.wait()}")
        self._client.base_url = httpx.URL(json.loads(line)["ops"])

    async def source(self) -> dict[str, Any] | None:
        """Return what /status shows of its source; None while it cannot be asked."""
        try:
            answer = await self._client.get("/status")
        except httpx.HTTPError:
            return None
        shown: dict[str, Any] = answer.json()["sources"][0]
        return shown

    async def kill(self) -> None:
        """End it with SIGKILL, whatever it does."""
        await self._end(SIGKILL)

    async def stop(self) -> int:
        """Ask it to drain and return its exit status. Raises DemoFailed if it takes too long."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._end(SIGTERM)
        except TimeoutError:
            raise self.failed(f"did not drain within {_STOP_SECONDS:.0f} s") from None

    async def close(self) -> None:
        """Leave nothing of it behind."""
        await self.kill()
        await self._client.aclose()

    def failed(self, what: str) -> DemoFailed:
        """Return an error that says what is wrong with the bridge, with the end of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        return DemoFailed("\n".join([f"the bridge {what}; the end of its log:", *lines]))

    async def _end(self, number: int) -> int:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self._process.wait()
