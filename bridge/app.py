"""The only place that wires: builds the parts, starts, supervises and closes them in reverse."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Literal, TypeVar

import stamina.instrumentation

from bridge import __version__, telemetry
from bridge.avro.codec import Codec
from bridge.avro.registry import Registry
from bridge.avro.subjects import register_all, subject_of, subjects
from bridge.clock import Clock
from bridge.commands.engine import Commands
from bridge.config import Settings, SourceSettings
from bridge.errors import (
    EXIT_GAVE_UP,
    EXIT_OK,
    AccessError,
    Again,
    ApiRejected,
    ConfigError,
    DependencyAway,
    Stop,
)
from bridge.health import Health
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease
from bridge.kafka.topics import check, partition_counts, topic_specs
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from bridge.ops.server import ops_app
from bridge.ops.serving import serving
from bridge.source.owner import Source
from bridge.source.publish import Layout
from bridge.supervise import Loop, supervise

Only = Literal["events", "commands"]

START_SECONDS: Final = 60.0
"""How long a dependency may be away when the bridge starts."""

EVENT_TOPICS: Final = ("events", "checkpoint", "events.dlq")
COMMAND_TOPICS: Final = ("commands", "command-results", "command-state", "commands.dlq")

T = TypeVar("T")
_log = telemetry.log(__name__)


def run(settings: Settings, only: Only | None) -> int:
    """Run the bridge until SIGTERM or SIGINT; return the exit code.

    A second signal ends the process at once. Raises Stop with its exit code.
    """
    telemetry.configure_logging(settings.log.level, settings.log.format)
    # The client's retries are counted by their answers; a line for each would say it twice.
    stamina.instrumentation.set_on_retry_hooks([])
    return asyncio.run(_run(settings, only))


async def _run(settings: Settings, only: Only | None) -> int:
    stop = asyncio.Event()
    _take_signals(stop)
    bridge = Bridge(settings, only, Clock())
    try:
        async with AsyncExitStack() as stack:
            await bridge.run(stack, stop)
    except Stop:
        raise
    except Exception as error:  # noqa: BLE001 - a defect: start-up recovers
        _log.exception("crashed", error=repr(error))
        return EXIT_GAVE_UP
    _log.info("drained")
    return EXIT_OK


def _take_signals(stop: asyncio.Event) -> None:
    def asked() -> None:
        if stop.is_set():
            os._exit(EXIT_GAVE_UP)
        _log.info("stopping")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)


class Bridge:
    """The running program: its parts, and what they say of themselves."""

    def __init__(self, settings: Settings, only: Only | None, clock: Clock) -> None:
        self._settings = settings
        self._events = only != "commands"
        self._commands = only != "events" and settings.commands.enabled
        self._clock = clock
        self._health = Health(clock)
        self._kafka = KafkaClient(settings.kafka)
        self._sources: list[Source] = []
        self._engine: Commands | None = None
        self._workers: dict[str, Loop] = {}
        self._helpers: dict[str, Loop] = {}
        self._clients: dict[str, tuple[MissionsClient, AccessGate]] = {}

    async def run(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        """Start, work until `stop`, drain; what is open closes with `stack`, the ops port last."""
        settings = self._settings
        self._health.unready("start", "starting")
        ops = await stack.enter_async_context(
            serving(ops_app(self._health, self._status), settings.ops.host, settings.ops.port)
        )
        registry = Registry(
            settings.registry.url,
            basic_auth=settings.registry.basic_auth,
            bearer_token=settings.registry.bearer_token,
        )
        stack.push_async_callback(registry.aclose)
        codec = Codec(registry, clock=self._clock)
        started = asyncio.create_task(self._start(stack, registry, codec), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({started, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not started.done():
            started.cancel()
            await asyncio.wait({started})
            return
        started.result()
        self._helpers["ready"] = lambda ending: self._announce(ops, ending)
        self._health.ready("start")
        grace = settings.api.timeout + settings.kafka.transaction_timeout
        try:
            await supervise(self._workers, self._helpers, stop, grace=grace)
        finally:
            self._health.unready("stop", "stopping")

    async def _start(self, stack: AsyncExitStack, registry: Registry, codec: Codec) -> None:
        """Reach every dependency and build the parts."""
        settings = self._settings
        counts, _ = await asyncio.gather(
            self._reach("kafka", self._check_topics),
            self._reach("registry", lambda: self._prepare(registry, codec)),
        )
        if self._events:
            lease = Lease(
                self._kafka,
                group=settings.source_group,
                topic=settings.topic("checkpoint"),
                clock=self._clock,
            )
            self._helpers["lease"] = lease.run
            for source in settings.sources:
                await self._add_source(stack, source, lease, codec, counts)
        if self._commands:
            client, gate = await self._client(stack, None)
            self._engine = Commands(
                settings, self._kafka, client, gate, codec, self._clock, self._health
            )
            self._workers["commands"] = self._engine.run

    async def _add_source(
        self,
        stack: AsyncExitStack,
        source: SourceSettings,
        lease: Lease,
        codec: Codec,
        counts: dict[str, int],
    ) -> None:
        client, gate = await self._client(stack, source)
        layout = Layout.of(
            self._settings,
            source.name,
            events=counts["events"],
            checkpoints=counts["checkpoint"],
        )
        made = Source(
            self._settings,
            source,
            kafka=self._kafka,
            client=client,
            gate=gate,
            codec=codec,
            lease=lease,
            layout=layout,
            clock=self._clock,
            health=self._health,
        )
        self._sources.append(made)
        self._workers[f"source {source.name}"] = made.run

    async def _client(
        self, stack: AsyncExitStack, source: SourceSettings | None
    ) -> tuple[MissionsClient, AccessGate]:
        """Return the client for a source's key (None: the common one) and the gate before it.

        One key has one client, hence one rate budget.
        """
        own = source.name if source is not None and source.api_key is not None else ""
        if own in self._clients:
            return self._clients[own]
        api = self._settings.api
        client = MissionsClient(
            base_url=api.base_url,
            key=lambda: self._settings.read_api_key(own or None),
            budget=RateBudget(api.rate, self._clock),
            clock=self._clock,
            timeout=api.timeout,
            proxy=api.proxy,
            ca_file=api.ca_file,
        )
        stack.push_async_callback(client.aclose)
        part = f"api key of {own}" if own else "api key"
        gate = AccessGate(client.probe, self._clock, self._health, part)
        self._helpers[part] = gate.run
        self._clients[own] = client, gate

        async def probe() -> None:
            try:
                await client.probe()
            except AccessError as error:
                gate.refuse(error)
            except ApiRejected as error:
                raise ConfigError(
                    [f"TELNYX_BASE_URL: {api.base_url} is no Missions API: {error}"]
                ) from error

        await self._reach("api", probe)
        return client, gate

    async def _check_topics(self) -> dict[str, int]:
        """Return the partition counts of the topics that are needed; raises ConfigError."""
        needed = (EVENT_TOPICS if self._events else ()) + (COMMAND_TOPICS if self._commands else ())
        specs = {
            short: spec
            for short, spec in topic_specs(self._settings.kafka.topic_prefix).items()
            if short in needed
        }
        if problems := await check(self._kafka, specs):
            raise ConfigError(problems)
        return await partition_counts(self._kafka, specs)

    async def _prepare(self, registry: Registry, codec: Codec) -> None:
        prefix = self._settings.kafka.topic_prefix
        if self._settings.registry.register_schemas:
            await register_all(registry, prefix)
        topics = (("events", "checkpoint") if self._events else ()) + (
            ("commands", "command-results", "command-state") if self._commands else ()
        )
        known = subjects(prefix)
        for topic in topics:
            subject = subject_of(prefix, topic)
            await codec.prepare(subject, known[subject].schema)

    async def _reach(self, name: str, step: Callable[[], Awaitable[T]]) -> T:
        """Take a first step with a dependency; try again for START_SECONDS while it is away."""
        limit = self._clock.monotonic() + START_SECONDS
        while True:
            try:
                result = await step()
            except Again as error:
                self._health.unready(name, str(error))
                telemetry.dependency_away(name, str(error))
                if self._clock.monotonic() >= limit:
                    raise DependencyAway(
                        f"{name} could not be reached within {START_SECONDS:.0f} s: {error}"
                    ) from error
                await self._clock.sleep(1)
            else:
                self._health.ready(name)
                return result

    async def _announce(self, ops: str, stop: asyncio.Event) -> None:
        """Say once, on standard output, that the bridge is ready."""
        while not stop.is_set() and self._health.reasons:
            await self._clock.sleep(0.05, stop)
        if not stop.is_set():
            line = {"event": "ready", "ops": ops, "version": __version__}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        await stop.wait()

    def _status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "sources": [source.status() for source in self._sources],
            "commands": None if self._engine is None else self._engine.status(),
        }
