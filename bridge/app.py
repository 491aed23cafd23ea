"""The only place that wires: builds the parts, starts, supervises and closes them in reverse."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import stamina.instrumentation

from bridge import __version__, telemetry
from bridge.avro.codec import Codec
from bridge.avro.registry import Registry
from bridge.avro.subjects import register_all, subject_of, subjects
from bridge.avro.watch import watch
from bridge.clock import SECOND, Clock, until_stopped, utc
from bridge.commands.engine import Commands
from bridge.config.models import Settings, SourceSettings
from bridge.errors import (
    EXIT_GAVE_UP,
    EXIT_OK,
    AccessError,
    ApiRejected,
    ConfigError,
    RateLimited,
    RegistryRefused,
    Stop,
)
from bridge.health import Health
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease
from bridge.kafka.topics import check, partition_counts, topic_specs
from bridge.logs import configure_logging
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from bridge.ops.connections import OPTIONS
from bridge.ops.server import ops_app
from bridge.ops.serving import serving
from bridge.output import say_once
from bridge.source.owner import Source
from bridge.source.writing.publish import Layout
from bridge.startup import Dependency, reach
from bridge.supervise import CLOSE_SECONDS, Loop, restarted, supervise

Only = Literal["events", "commands"]

EVENT_TOPICS: Final = ("events", "checkpoint", "audit", "events.dlq")
COMMAND_TOPICS: Final = ("commands", "command-results", "command-state", "commands.dlq")

_log = telemetry.log(__name__)


def run(settings: Settings, only: Only | None) -> int:
    """Run the bridge until SIGTERM, SIGINT or SIGHUP; return the exit code.

    A second SIGTERM or SIGINT ends the process at once. Raises Stop with its exit code.
    """
    configure_logging(settings.log.level, settings.log.format)
    # What was imported stays: each full pass of the garbage collector would walk it for 50 ms.
    gc.freeze()
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
    """Drain at the first signal; SIGHUP only asks, as it often comes along with another."""
    insisted = False

    def ask() -> None:
        if not stop.is_set():
            _log.info("stopping")
            stop.set()

    def insist() -> None:
        nonlocal insisted
        if insisted:
            os._exit(EXIT_GAVE_UP)
        insisted = True
        ask()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, insist)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        loop.add_signal_handler(signal.SIGHUP, ask)


class Bridge:
    """The running program: its parts, and what they say of themselves."""

    def __init__(self, settings: Settings, only: Only | None, clock: Clock) -> None:
        self._settings = settings
        self._events = only != "commands"
        self._commands = only != "events" and settings.commands.enabled
        self._clock = clock
        self._started = clock.now()
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
        ops = await stack.enter_async_context(self._serving())
        registry = Registry.of(settings.registry)
        stack.push_async_callback(registry.aclose)
        codec = Codec(registry, clock=self._clock)
        await until_stopped(self._start(stack, registry, codec), stop)
        if stop.is_set():
            return
        self._helpers["ready"] = lambda ending: self._announce(ops, ending)
        self._helpers["registry"] = partial(watch, codec, self._clock, self._health)
        self._health.ready("start")
        # Workers bound their drain themselves, and then close what they have open.
        grace = settings.drain_seconds + CLOSE_SECONDS
        try:
            await supervise(self._workers, self._helpers, stop, grace=grace)
        finally:
            self._health.unready("stop", "stopping")

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        """Serve the ops port; raises ConfigError where that is not possible."""
        host, port = self._settings.ops.host, self._settings.ops.port
        async with AsyncExitStack() as stack:
            try:
                server = serving(ops_app(self._health, self._status), host, port, **OPTIONS)
                url = await stack.enter_async_context(server)
            except OSError as error:
                where = f"cannot listen on port {port} of {host}: {error.strerror}"
                raise ConfigError([f"BRIDGE_OPS__PORT: {where}"]) from error
            yield url

    async def _start(self, stack: AsyncExitStack, registry: Registry, codec: Codec) -> None:
        """Reach every dependency and build the parts."""
        settings = self._settings
        counts: dict[str, int] = {}

        async def look_at_topics() -> None:
            counts.update(await self._check_topics())

        brokers = f"BRIDGE_KAFKA__BOOTSTRAP_SERVERS {settings.kafka.bootstrap_servers}"
        dependencies = [
            Dependency("kafka", brokers, look_at_topics),
            Dependency(
                "registry",
                f"BRIDGE_REGISTRY__URL {registry.url}",
                lambda: self._prepare(registry, codec),
            ),
        ]
        for account in (*settings.sources, *((None,) if self._commands else ())):
            self._add_client(stack, account)
        for name, (client, gate) in self._clients.items():
            part = f"api of {name}" if name else "api"
            where = f"TELNYX_BASE_URL {settings.api.base_url}"
            dependencies.append(Dependency(part, where, partial(self._probe, client, gate)))
        await reach(dependencies, clock=self._clock, health=self._health)
        if self._events:
            self._add_sources(codec, counts)
        if self._commands:
            self._health.unready("commands", "starting")
            self._workers["commands"] = restarted(
                "commands",
                partial(self._make_commands, codec),
                clock=self._clock,
                health=self._health,
            )

    def _make_commands(self, codec: Codec) -> Loop:
        """Make the command side; a new one takes the place of one that failed."""
        settings = self._settings
        client, gate = self._for_commands(None)
        self._engine = Commands(
            settings,
            self._kafka,
            client,
            gate,
            codec,
            self._clock,
            self._health,
            {source.name: self._for_commands(source) for source in settings.sources},
        )
        return self._engine.run

    def _add_sources(self, codec: Codec, counts: dict[str, int]) -> None:
        settings = self._settings
        lease = Lease(
            self._kafka,
            group=settings.source_group,
            topic=settings.topic("checkpoint"),
            clock=self._clock,
        )
        self._helpers["lease"] = lease.run
        for source in settings.sources:
            client, gate = self._client(source)
            client = client.for_another()
            layout = Layout.of(
                settings, source.name, events=counts["events"], checkpoints=counts["checkpoint"]
            )
            made = Source(
                settings,
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

    def _client(self, source: SourceSettings | None) -> tuple[MissionsClient, AccessGate]:
        """Return the client for a source's key (None: the common one) and the gate before it."""
        return self._clients[_account(source)]

    def _for_commands(self, source: SourceSettings | None) -> tuple[MissionsClient, AccessGate]:
        """Return the same for commands: neither they nor a source wait for more than a turn."""
        client, gate = self._client(source)
        return client.for_another(), gate

    def _add_client(self, stack: AsyncExitStack, source: SourceSettings | None) -> None:
        """Make client and gate, unless they are there: one key has one client, hence one budget."""
        own = _account(source)
        if own in self._clients:
            return
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

    async def _probe(self, client: MissionsClient, gate: AccessGate) -> None:
        """Ask the API for next to nothing; a key that it refuses is the gate's business."""
        try:
            await client.probe()
        except AccessError as error:
            gate.refuse(error)
        except RateLimited as error:
            telemetry.dependency_away("api", str(error))  # it answers; whoever needs it waits
        except ApiRejected as error:
            url = self._settings.api.base_url
            raise ConfigError([f"TELNYX_BASE_URL: {url} is no Missions API: {error}"]) from error

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
        """Find every schema that is needed; ConfigError lists all that are missing."""
        try:
            await self._find_schemas(registry, codec)
        except RegistryRefused as error:
            raise ConfigError([str(error)]) from error

    async def _find_schemas(self, registry: Registry, codec: Codec) -> None:
        prefix = self._settings.kafka.topic_prefix
        if self._settings.registry.register_schemas:
            await register_all(registry, prefix)
        topics = (("events", "checkpoint", "audit") if self._events else ()) + (
            ("commands", "command-results", "command-state") if self._commands else ()
        )
        known = subjects(prefix)
        problems: list[str] = []
        for topic in topics:
            subject = subject_of(prefix, topic)
            try:
                await codec.prepare(subject, known[subject].schema)
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(problems)

    async def _announce(self, ops: str, stop: asyncio.Event) -> None:
        """Say once, on standard output, that the bridge is ready."""
        while not stop.is_set() and self._health.reasons:
            await self._clock.sleep(0.05, stop)
        if not stop.is_set():
            say_once(json.dumps({"event": "ready", "ops": ops, "version": __version__}))
        await stop.wait()

    def _status(self) -> dict[str, Any]:
        return {
            "version": __version__,
            "instance": f"{platform.node()}/{os.getpid()}",
            "started_at": utc(self._started),
            "uptime_seconds": round((self._clock.now() - self._started) / SECOND),
            "sources": [source.status() for source in self._sources],
            "commands": None if self._engine is None else self._engine.status(),
        }


def _account(source: SourceSettings | None) -> str:
    """Name the source whose own key is used, "" for the common key."""
    return source.name if source is not None and source.api_key is not None else ""
