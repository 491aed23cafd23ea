"""A real bridge on a real Kafka: strangers write commands, API and registry answer oddly."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
)
from support import brokers, commands
from support.raw_kafka import CODECS, Raw, batch, produce
from support.stage import Bridge, Stage, stage, wait_for

from bridge.clock import Clock
from fuzz import noise

LONGEST_SILENCE = 1.0
"""Seconds that an answer of /livez may take."""
MOST_MEMORY = 400
"""MiB resident at most; a fetch may have 32 MiB of expanded batches, an answer of the API 64."""
_BATCHES = 25
_GOOD = 3
_SHARE = 0.3
"""Of requests, while it is odd."""
_ODD = 10
"""Odd answers in a round at least."""
_CLOCK = Clock()


class OddProxy:
    """Stands before a server: passes requests on, or answers a share of them with raw bytes."""

    def __init__(self, draw: Random, url: str) -> None:
        self._draw = draw
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self.share = 0.0
        self.odd = 0
        self.url = ""
        threading.Thread(target=self._run, daemon=True).start()
        assert self._up.wait(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._up.set()
        self._loop.run_forever()

    def close(self) -> None:
        """Take no more connections."""
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, up = await asyncio.open_connection(self._host, self._port)
            back = asyncio.ensure_future(_pass_on(there, writer))
            try:
                while request := await reader.read(2**20):
                    if self._draw.random() >= self.share:
                        up.write(request)
                        continue
                    self.odd += 1
                    if self._draw.random() < 0.3:
                        up.write(request)  # carried out, and the answer lost
                        await up.drain()
                        await _CLOCK.sleep(0.05)
                    else:
                        writer.write(noise.raw_answer(self._draw))
                        await writer.drain()
                    break
            finally:
                back.cancel()
                up.close()
                writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**20):
            writer.write(data)
            await writer.drain()


class Watch:
    """Asks /livez ten times a second from a thread of its own."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge, self._over = bridge, threading.Event()
        self.slowest, self.problem = 0.0, ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            began = _CLOCK.monotonic()
            try:
                status, _ = self._bridge.read("/livez")
            except OSError as error:
                self.problem = self.problem or repr(error)
                return
            self.slowest = max(self.slowest, _CLOCK.monotonic() - began)
            if status != 200:
                self.problem = f"/livez answers {status}"

    def end(self) -> None:
        """Ask no more, and raise what was wrong."""
        self._over.set()
        self._thread.join(60)
        assert not self.problem, self.problem
        assert self.slowest < LONGEST_SILENCE, f"/livez took {self.slowest:.2f} s"


@contextmanager
def playing(seed: int) -> Iterator[Live]:
    """Set up an installation with odd servers, and a bridge that runs on it."""
    draw = Random(seed)
    with ExitStack() as stack:
        kafka = stack.enter_context(brokers.real())
        folder = Path(stack.enter_context(TemporaryDirectory()))
        prefix = f"fuzz{uuid.uuid4().hex[:8]}"
        scene = stack.enter_context(stage(kafka, prefix, folder, events=50))
        api, registry = OddProxy(draw, scene.api.url), OddProxy(draw, scene.registry_url)
        stack.callback(api.close)
        stack.callback(registry.close)
        bridge = scene.run(
            TELNYX_BASE_URL=f"{api.url}/v2",
            BRIDGE_REGISTRY__URL=registry.url,
            BRIDGE_COMMANDS__SETTLE="3",
            BRIDGE_API__TIMEOUT="2",
        ).ready()
        yield Live(draw, scene, bridge, api, registry)
        assert bridge.stop(180) == 0


class Live:
    """One bridge through many rounds; `told` counts what it went through."""

    def __init__(
        self, draw: Random, scene: Stage, bridge: Bridge, api: OddProxy, registry: OddProxy
    ) -> None:
        self._draw, self._scene, self._bridge = draw, scene, bridge
        self._proxies = (api, registry)
        self._topic = f"{scene.prefix}.commands"
        self._missions = [one["mission_id"] for one in scene.events()]
        self._good: list[commands.Command] = []
        self._schemas = [*_odd_schemas(scene, draw)]
        self.told = Counter[str]()
        self.slowest = 0.0

    @property
    def memory(self) -> int:
        """MiB that were resident at most."""
        return self._bridge.peak_memory

    def round(self) -> None:
        """Some seconds of anything; then a good command and an event must get through."""
        watch = Watch(self._bridge)
        odd = sum(proxy.odd for proxy in self._proxies)
        for proxy in self._proxies:
            proxy.share = _SHARE
        for _ in range(_BATCHES):
            self._strange_batch()
        self._order(_GOOD)
        self._scene.insert(3)
        self._wait(lambda: sum(proxy.odd for proxy in self._proxies) >= odd + _ODD)
        for proxy in self._proxies:
            proxy.share = 0.0
        self.told["odd answers"] += sum(proxy.odd for proxy in self._proxies) - odd
        self._order(1)
        self._scene.insert(1)
        self._wait(lambda: self._bridge.published >= len(self._scene.events()))
        self._wait(lambda: not self._braked() and len(self._finals()) == len(self._good))
        self._judge()
        watch.end()
        self.slowest = max(self.slowest, watch.slowest)
        assert self.memory < MOST_MEMORY, f"{self.memory} MiB"
        self.told["rounds"] += 1

    def _wait(self, condition: Callable[[], bool]) -> None:
        def reached() -> bool:
            assert self._bridge.process.poll() is None, f"it ended:\n{self._bridge.output[-5000:]}"
            return condition()

        try:
            wait_for(reached, 120)
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {self._bridge.reason} {self._bridge.status()}"
            ) from None

    def _braked(self) -> bool:
        """Whether the breaker holds commands back; if so, lift it as its documentation says."""
        if "dead letters" not in self._bridge.reason:
            return False
        self._scene.command("commands", "resume")
        return True

    def _order(self, count: int) -> None:
        orders = [commands.start(self._draw.choice(self._missions)) for _ in range(count)]
        commands.produce(self._scene, orders)
        self._good += orders

    def _strange_batch(self) -> None:
        """Write a batch of some records that are nearly commands, or nothing like it."""
        draw = self._draw
        good = commands.to_bytes(self._scene, [commands.start(draw.choice(self._missions))])[0]
        rows = [
            Raw(
                draw.choice([None, b"", b"\xff\0", draw.randbytes(200), good[6:38]]),
                self._strange_value(good),
                noise.raw_headers(draw),
            )
            for _ in range(draw.choice([1, 2, 8]))
        ]
        codec = draw.choice(list(CODECS))
        with suppress(AssertionError):  # the broker refused it
            produce(
                self._scene.broker,
                self._topic,
                draw.randrange(6),
                batch(rows, codec, time=_CLOCK.now() // 1000),
            )
            self.told["records"] += len(rows)

    def _strange_value(self, good: bytes) -> bytes | None:
        draw = self._draw
        if draw.random() < 0.5:
            return noise.value(draw, good)
        schema_id, schema = draw.choice(self._schemas)
        return b"\0" + schema_id.to_bytes(4, "big") + noise.written(draw, schema)

    def _finals(self) -> dict[str, str]:
        known = {order["command_id"] for order in self._good}
        finals = [one for one in commands.results(self._scene) if one["final"]]
        finals = [one for one in finals if one["command_id"] in known]
        told = {one["command_id"]: one["status"] for one in finals}
        assert len(told) == len(finals), "more than one final result"
        return told

    def _judge(self) -> None:
        """Fail where a result says what is not so."""
        finals = self._finals()
        runs = Counter(one["command_id"] for one in self._scene.effects())
        for command_id, status in finals.items():
            happened = runs[command_id]
            assert happened <= 1, f"{command_id} was carried out {happened} times"
            assert status != "SUCCEEDED" or happened, f"{command_id}: {status} without an effect"
            assert status in ("SUCCEEDED", "IN_DOUBT") or not happened, f"{command_id}: {status}"
        last = self._good[-1]["command_id"]
        assert finals[last] == "SUCCEEDED", finals[last]


def _odd_schemas(scene: Stage, draw: Random) -> Iterator[tuple[int, object]]:
    """Register our schema for commands, and some that are nearly it; yield their ids."""
    subject = f"{scene.prefix}.commands-value"
    with SchemaRegistryClient({"url": scene.registry_url}) as registry:
        latest = registry.get_latest_version(subject)
        text = latest.schema.schema_str
        assert text is not None
        assert latest.schema_id is not None
        yield latest.schema_id, noise.schema(text)
        registry.set_config(subject, ServerConfig(ConfigCompatibilityLevel.NONE))
        for _ in range(8):
            other = noise.other_schema(draw, text)
            with suppress(Exception):  # not every one is a schema
                yield registry.register_schema(subject, Schema(other, "AVRO")), noise.schema(other)
