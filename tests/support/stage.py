"""A whole installation for end-to-end tests: an API, a registry, topics, and real bridge processes.

The simulator and the registry run in threads of the test, so that tests can look into them and take
them away and bring them back on the same port. The bridge is always the real command.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from bridge.clock import Clock
from bridge.dev.api.http import serving
from bridge.dev.api.simulator import Simulator
from bridge.dev.servers.registry import RegistryServer
from support.brokers import Broker

CANARY = "KEY0canary0never0to0be0seen"
_CLOCK = Clock()
_NOT_OURS = ("BRIDGE_", "TELNYX_", "PYTHON")
COMMAND = str(Path(sys.executable).with_name("mission-bridge"))
T = TypeVar("T")


def wait_for(condition: Callable[[], Any], deadline: float = 60.0) -> Any:
    """Wait until `condition()` is true and return its result; fail after `deadline` seconds."""
    end = _CLOCK.monotonic() + deadline
    pause = threading.Event()
    while not (result := condition()):
        if _CLOCK.monotonic() > end:
            raise AssertionError(f"not true within {deadline} s: {condition}")
        pause.wait(0.05)
    return result


class Server:
    """An application on a port, in a thread of its own; may be stopped and started again there."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._app = app
        self._port = port
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.url = ""

    def start(self, **options: Any) -> None:
        """Serve, at the same address as before if there was one; `options` are uvicorn's."""
        up = threading.Event()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with serving(self._app, "127.0.0.1", self._port, **options) as url:
                self.url, self._port = url, int(url.rpartition(":")[2])
                up.set()
                await self._stop.wait()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        assert up.wait(20), "the server did not start"

    def call(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, called between two requests and not during one."""
        if self._thread is None or self._loop is None:
            return function()

        async def called() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result(20)

    def stop(self) -> None:
        """Stop serving: connections are refused from now on."""
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._thread = None


class Bridge:
    """One `mission-bridge run` as a process of its own; its output is kept in files."""

    def __init__(
        self,
        kafka: Broker,
        env: Mapping[str, str],
        folder: Path,
        *arguments: str,
        command: Sequence[str] = (COMMAND, "run"),
    ) -> None:
        self._kafka = kafka
        number = len(list(folder.glob("bridge-*.out")))
        self._out, self._err = folder / f"bridge-{number}.out", folder / f"bridge-{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, *arguments],
                env=dict(env),
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
            )

    @property
    def output(self) -> str:
        """Everything it wrote so far."""
        return self._out.read_text() + self._err.read_text()

    def ready(self, deadline: float = 60.0) -> "Bridge":
        """Wait until it says that it is ready."""

        def said_or_ended() -> bool:
            return b"\n" in self._out.read_bytes() or self.process.poll() is not None

        wait_for(said_or_ended, deadline)
        assert self.process.poll() is None, f"the bridge ended:\n{self.output}"
        return self

    @property
    def ops(self) -> str:
        """Address of its ops port; known once it is ready."""
        return str(json.loads(self._out.read_text().splitlines()[0])["ops"])

    def read(self, path: str) -> tuple[int, bytes]:
        """Ask the ops port: the status and the answer."""
        request = urllib.request.Request(self.ops + path)  # noqa: S310 - our own server
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def get(self, path: str) -> tuple[int, Any]:
        """Ask the ops port: the status and the JSON answer."""
        status, answer = self.read(path)
        return status, json.loads(answer)

    def status(self) -> Any:
        """What /status shows."""
        return self.get("/status")[1]

    def source(self) -> Any:
        """What /status shows of the first source."""
        return self.status()["sources"][0]

    @property
    def reason(self) -> str:
        """Why it is not ready, as /readyz says; empty when it is."""
        status, answer = self.get("/readyz")
        assert (status == 503) == bool(answer["reasons"])
        return str(answer["reasons"]) if answer["reasons"] else ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that have these labels."""
        text = self.read("/metrics")[1].decode()
        families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        return sum(
            float(sample.value)
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def published(self) -> int:
        """How many events the first source has published; -1 while it stands by."""
        return int(self.source().get("published", -1))

    @property
    def peak_memory(self) -> int:
        """The most resident memory that it ever had, in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait(30)
        asyncio.run(self._kafka.expire_sessions())

    def freeze(self) -> None:
        """Let it go silent, with all its connections open, until `wake`."""
        self.signal(signal.SIGSTOP)
        asyncio.run(self._kafka.expire_sessions())

    def wake(self) -> None:
        """Let it go on where it was frozen."""
        self.signal(signal.SIGCONT)

    def stop(self, deadline: float = 60.0) -> int:
        """End it with SIGTERM and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(deadline)

    def wait(self, deadline: float = 90.0) -> int:
        """Wait until it ends by itself and return its exit code."""
        return self.process.wait(deadline)


class Stage:
    """Everything around a bridge, and the bridges that were started on it."""

    def __init__(
        self, kafka: Broker, prefix: str, folder: Path, simulator: Simulator, registry: str | None
    ) -> None:
        self._kafka = kafka
        self.prefix = prefix
        self.folder = folder
        self.simulator = simulator
        self.api = Server(simulator.app)
        self.registry = Server(RegistryServer().app)
        self._registry_url = registry
        self.bridges: list[Bridge] = []

    @property
    def broker(self) -> str:
        """The Kafka's address."""
        return self._kafka.address

    @property
    def registry_url(self) -> str:
        return self._registry_url or self.registry.url

    def env(self, **settings: str) -> dict[str, str]:
        """Return a bridge's environment; BRIDGE_... settings may be added or replaced."""
        outside = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}
        return {
            **outside,
            "TELNYX_API_KEY": CANARY,
            "TELNYX_BASE_URL": f"{self.api.url}/v2",
            "BRIDGE_API__RATE": "200",
            "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": self.broker,
            "BRIDGE_KAFKA__TOPIC_PREFIX": self.prefix,
            "BRIDGE_KAFKA__SESSION_TIMEOUT": "6",
            "BRIDGE_REGISTRY__URL": self.registry_url,
            "BRIDGE_SOURCE__POLL_INTERVAL": "0.2",
            "BRIDGE_OPS__PORT": "0",
            **settings,
        }

    def command(self, *arguments: str, stdin: str | None = None, **settings: str) -> str:
        """Run a `mission-bridge` command to its end and return what it printed."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self.env(**settings),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stderr}"
        return done.stdout

    def events(self) -> list[dict[str, Any]]:
        """Every event that the API ever had, as its ledger has them."""
        return list(self.api.call(self.simulator.ledger)["events"])

    def effects(self) -> list[dict[str, Any]]:
        """Every write that the API carried out, in order."""
        return list(self.api.call(self.simulator.ledger)["effects"])

    @property
    def effect_count(self) -> int:
        """How many writes the API carried out."""
        return int(self.control("ledger?part=summary")["summary"]["effects"])

    def control(self, name: str, value: object = None) -> dict[str, Any]:
        """Use the API's control endpoint: POST a value, or GET."""
        return self.api.call(lambda: self.simulator.control(name, value))

    def insert(self, count: int = 1, **wish: object) -> list[dict[str, Any]]:
        """Let so many events happen, in a run of their own unless the wish says otherwise."""
        return list(self.control("events", {"count": count, **wish})["events"])

    def quiet(self) -> None:
        """Let the API make no more events by itself."""
        self.control("behaviour", {"rate": 0})

    def prepare(self) -> None:
        """Start the servers and make topics and schemas with the commands that users have."""
        self.api.start()
        if self._registry_url is None:
            self.registry.start()
        with ThreadPoolExecutor() as together:
            made = [
                together.submit(self.command, "topics", "apply"),
                together.submit(self.command, "schemas", "register"),
            ]
        for one in made:
            one.result()

    def run(self, *arguments: str, **settings: str) -> Bridge:
        """Start a bridge; see `Bridge.ready`."""
        bridge = Bridge(self._kafka, self.env(**settings), self.folder, *arguments)
        self.bridges.append(bridge)
        return bridge

    def close(self) -> None:
        """End whatever still runs, and make sure that no output shows the key."""
        for bridge in self.bridges:
            if bridge.process.poll() is None:
                bridge.wake()
                bridge.process.kill()
                bridge.process.wait(30)
        self.api.stop()
        self.registry.stop()
        for bridge in self.bridges:
            assert CANARY not in bridge.output, "the API key is in the bridge's output"


@contextmanager
def stage(
    kafka: Broker,
    prefix: str,
    folder: Path,
    *,
    registry: str | None = None,
    **simulator: Any,
) -> Iterator[Stage]:
    """Set a stage; `simulator` are the Simulator's own options."""
    made = Stage(kafka, prefix, folder, Simulator(clock=Clock(), **simulator), registry)
    with ExitStack() as stack:
        stack.callback(made.close)
        made.prepare()
        yield made
