"""A whole command side on a Kafka and an API in memory, to be scripted, crashed and looked at."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
from aiokafka import TopicPartition
from commands_world import BEGAN, MISSION, RUN, FakeApi, SimulatedBudget, SimulatedClock
from pydantic import SecretStr
from support.fake_kafka import FakeKafka, Process

from bridge.avro.codec import Codec, load_schemas
from bridge.avro.registry import Registry
from bridge.clock import Clock
from bridge.commands.engine import Commands
from bridge.commands.model import Verb
from bridge.config.models import ApiSettings, CommandSettings, Settings
from bridge.dev.servers.registry import RegistryServer
from bridge.errors import Again, TransactionLost
from bridge.health import Health
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient

COMMANDS, STATE = "missions.commands", "missions.command-state"
RESULTS, LETTERS = "missions.command-results", "missions.commands.dlq"
_SUBJECTS = {
    COMMANDS: "mission_command",
    RESULTS: "command_result",
    STATE: "command_state",
}


Make = Callable[..., Awaitable["Bench"]]
"""The fixture `make`: returns an opened bench; takes settings of commands, and `partitions`."""


@functools.cache
def _fields() -> dict[str, list[str]]:
    """The fields of each record in the union `body`."""
    fields = load_schemas()["mission_command"].parsed["fields"]
    union = next(field["type"] for field in fields if field["name"] == "body")
    return {
        record["name"].rpartition(".")[2]: [field["name"] for field in record["fields"]]
        for record in union
    }


def command(verb: str, command_id: str, /, body: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a command as the schema has it; `body` overrides fields of the verb's record."""
    branch = Verb(verb).branch
    empty = dict.fromkeys(_fields()[branch])
    needs_run = not verb.endswith("mission") and verb != "start_run"
    return {
        "command_id": command_id,
        "type": verb,
        "mission_id": None if verb == "create_mission" else MISSION,
        "run_id": RUN if needs_run else None,
        "account": None,
        "issued_at": BEGAN,
        "expires_at": None,
        "issuer": None,
        "on_doubt": None,
        "body": (f"missionbridge.v1.{branch}", empty | (body or {})),
    } | fields


def start(command_id: str, mission: str = MISSION, /, body: Any = None, **fields: Any) -> Any:
    return command("start_run", command_id, body, **{"mission_id": mission, **fields})


def settings(**commands: Any) -> Settings:
    delivery = commands.pop("delivery", "exactly_once")
    rate = commands.pop("rate", 1000)
    timeout = commands.pop("timeout", 30.0)
    return Settings(
        delivery=delivery,
        api=ApiSettings(api_key=SecretStr("key"), rate=rate, timeout=timeout),
        commands=CommandSettings(**commands),
    )


class Bench:
    """Commands in, results out, and everything between within reach."""

    def __init__(self, partitions: int = 1, api: type[FakeApi] = FakeApi, **options: Any) -> None:
        counts = {COMMANDS: partitions, STATE: partitions, RESULTS: partitions, LETTERS: 1}
        self.settings = settings(**options)
        self.kafka = FakeKafka(counts)
        self.clock = SimulatedClock()
        self.api = api(self.clock)
        self.accounts: dict[str, FakeApi] = {}
        """By the name of another source: what its key sees."""
        self.budget = SimulatedBudget(self.settings.api.rate, self.clock)
        self.registry = RegistryServer()
        self.registry_cut = False
        self.health = Health(self.clock)
        self.stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self.partitions = partitions

    async def open(self) -> Bench:
        """Prepare the codec; call first."""
        registry = Registry("http://registry", transport=_Cable(self))
        self.codec = Codec(registry, clock=self.clock)
        schemas = load_schemas()
        for topic, name in _SUBJECTS.items():
            await self.codec.prepare(f"{topic}-value", schemas[name], register=True)
        return self

    def begin(self, assigned: set[int] | None = None) -> asyncio.Task[None]:
        """Start a bridge; `process`, `commands`, `stop` and `bridge` are then this one's."""
        numbers = range(self.partitions) if assigned is None else assigned
        self.process = Process(
            self.kafka, self.clock, {TopicPartition(COMMANDS, n) for n in numbers}
        )
        self.stop = asyncio.Event()
        client = self.client()
        gate = AccessGate(client.probe, self.clock, self.health)
        self.commands = Commands(
            self.settings,
            self.process,  # type: ignore[arg-type]  # stands in for KafkaClient
            client,
            gate,
            self.codec,
            self.clock,
            self.health,
            {name: self._account(name, api) for name, api in self.accounts.items()},
        )
        self._tasks.append(asyncio.create_task(gate.run(self.stop)))
        self.bridge = asyncio.create_task(self.commands.run(self.stop))
        self._tasks.append(self.bridge)
        return self.bridge

    def client(self) -> MissionsClient:
        """Return a client of the API in memory."""
        return self._client(self.api, self.budget)

    def _client(self, api: FakeApi, budget: SimulatedBudget) -> MissionsClient:
        return MissionsClient(
            base_url="https://api.example.test/v2",
            key=lambda: "key",
            budget=budget,
            clock=self.clock,
            transport=httpx.MockTransport(api.handle),
        )

    def _account(self, name: str, api: FakeApi) -> tuple[MissionsClient, AccessGate]:
        """Return client and gate of another account, whose API is one of its own."""
        client = self._client(api, SimulatedBudget(self.settings.api.rate, self.clock))
        gate = AccessGate(client.probe, self.clock, self.health, f"api key of {name}")
        self._tasks.append(asyncio.create_task(gate.run(self.stop)))
        return client, gate

    def freeze(self, stage: str, kind: str) -> asyncio.Event:
        """Hang the bridge before or after it commits a record of this kind; set once it hangs."""
        reached = asyncio.Event()

        async def hook(at: str, records: Sequence[Record]) -> None:
            if at == stage and kind in await self.kinds(records):
                reached.set()
                await asyncio.Event().wait()

        self.kafka.hook = hook
        return reached

    def lose(
        self,
        kind: str,
        *,
        written: bool,
        times: int = 1,
        error: type[Again] = TransactionLost,
    ) -> list[str]:
        """Make transactions with a record of this kind fail; returns the list of those that did."""
        lost: list[str] = []

        async def hook(at: str, records: Sequence[Record]) -> None:
            wanted = at == ("after" if written else "before")
            if wanted and len(lost) < times and kind in await self.kinds(records):
                lost.append(kind)
                raise error("nobody knows")

        self.kafka.hook = hook
        return lost

    async def end(self) -> None:
        """Stop the bridge as SIGTERM does."""
        self.stop.set()
        await self.bridge

    async def crash(self) -> None:
        """Kill the bridge: nothing of it reaches Kafka from here on."""
        self.process.dead = True
        self.kafka.hook = None
        await self.tear_down()

    async def tear_down(self) -> None:
        """Cancel everything that a bridge may have running."""
        me = asyncio.current_task()
        while True:
            left = [
                task
                for task in asyncio.all_tasks()
                if task is not me
                and (task in self._tasks or task.get_name().startswith("commands-"))
            ]
            if not left:
                self._tasks.clear()
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1)

    def send(
        self,
        value: dict[str, Any] | bytes | None,
        *,
        key: bytes | None = b"derive",
        partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """Put a command on the topic, by default where it belongs; return its offset."""
        if isinstance(value, dict):
            if key == b"derive":
                key = (value["run_id"] or value["mission_id"] or value["command_id"]).encode()
            value = self.codec.encode(f"{COMMANDS}-value", value)
        if partition is None:
            partition = murmur2(key or b"", self.partitions)
        return self.kafka.append(Record(COMMANDS, partition, key, value, headers))

    async def read(self, topic: str) -> list[dict[str, Any]]:
        """Return the decoded records of a topic, tombstones left out."""
        found = [record.value for record in self.kafka.records(topic) if record.value is not None]
        return [await self.codec.decode(f"{topic}-value", value) for value in found]

    async def results(self, count: int, deadline: float = 60.0) -> list[dict[str, Any]]:
        """Wait for so many results in all and return them."""
        await until(lambda: self._at_least(RESULTS, count), deadline)
        return await self.read(RESULTS)

    async def letters(self, count: int) -> list[Any]:
        """Wait for so many dead letters in all and return them."""
        await until(lambda: self._at_least(LETTERS, count))
        return self.kafka.records(LETTERS)

    async def idle(self) -> None:
        """Wait until everything that was sent is complete."""
        ends = {n: self.kafka.ends[TopicPartition(COMMANDS, n)] for n in range(self.partitions)}

        def complete() -> bool:
            status = self.commands.status()["partitions"]
            done = {int(n): part["position"] for n, part in status.items() if not part["waiting"]}
            return all(done.get(n, -1) >= end for n, end in ends.items())

        await until(complete)

    async def final(self, command_id: str = "c1") -> dict[str, Any]:
        """Wait for the final result of a command and return it."""

        def of_it() -> list[bytes]:
            values = (record.value or b"" for record in self.kafka.records(RESULTS))
            return [value for value in values if command_id.encode() in value]

        for seen in itertools.count():
            more = functools.partial(lambda seen: len(of_it()) > seen or self.bridge.done(), seen)
            await until(more)
            self._at_least(RESULTS, 0)
            for result in await self.read(RESULTS):
                if result["final"] and result["command_id"] == command_id:
                    return result
        raise AssertionError

    def running(self, number: int = 0) -> dict[str, Any]:
        """Return what /status says of a partition."""
        status: dict[str, Any] = self.commands.status()["partitions"].get(str(number), {})
        return status

    async def kinds(self, records: Any) -> list[str]:
        """Name the ledger's records among some: intent, withdrawn, done, position, claim."""
        states = [r.value for r in records if r.topic == STATE and r.value is not None]
        return [(await self.codec.decode(f"{STATE}-value", state))["kind"] for state in states]

    def _at_least(self, topic: str, count: int) -> bool:
        if self.bridge.done() and not self.bridge.cancelled():
            self.bridge.result()
        return len(self.kafka.records(topic)) >= count


class _Cable(httpx.AsyncBaseTransport):
    """The way to the registry, which can be cut."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._server = httpx.ASGITransport(app=bench.registry.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._bench.registry_cut:
            raise httpx.ConnectError("cut", request=request)
        return await self._server.handle_async_request(request)


async def until(condition: Callable[[], object], deadline: float = 60.0) -> None:
    """Wait for a condition, at the very time when it is met; fail after `deadline` real seconds."""
    clock = Clock()
    end = clock.monotonic() + deadline
    while not condition():
        assert clock.monotonic() < end, f"not within {deadline} s"
        met = asyncio.get_running_loop().create_future()
        SimulatedClock.watched[met] = condition
        try:
            # What happens outside of simulated time is looked at now and then.
            await asyncio.wait({met}, timeout=0.002)
        finally:
            del SimulatedClock.watched[met]


def missions(count: int) -> list[str]:
    """Return ids of so many missions."""
    return [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)]


def hold_call(bench: Bench, wanted: str = "start") -> tuple[asyncio.Event, asyncio.Event]:
    """Let the first wanted request have its effect and hold its answer back until told."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(operation: str, request: httpx.Request) -> httpx.Response:
        answer = bench.api.carry_out(operation, request)
        reached.set()
        await go_on.wait()
        return answer

    def script(operation: str, request: httpx.Request) -> Any:
        return held(operation, request) if operation == wanted and not reached.is_set() else None

    bench.api.script = script
    return reached, go_on
