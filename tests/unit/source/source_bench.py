"""A source on an API and a Kafka in memory, to be crashed, restarted and looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import httpx
from aiokafka import TopicPartition
from source_codec import AUDITS, CHECKPOINT, CODEC, EVENTS, decode
from support.fake_kafka import FakeKafka, FakeWriter, Process

from bridge.clock import SECOND, Clock, Micros
from bridge.config.models import Settings, SourceSettings
from bridge.dev.api.answers import Ending
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.simulator import Simulator
from bridge.kafka.producer import Record
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from bridge.missions.timestamps import micros
from bridge.source.build import assembled
from bridge.source.checkpoint import records as state
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.identity import digest
from bridge.source.poller import Poller
from bridge.source.reading.windows import BEGINNING
from bridge.source.takeover import Desk, feed_of
from bridge.source.tools.access import SourceAccess
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Layout, Publisher

START: Micros = 1_773_057_600 * SECOND
SETTINGS = Settings()
FEED = feed_of(SETTINGS.api.base_url, "default")
LAYOUT = Layout.of(SETTINGS, "default", events=6, checkpoints=1)
STATE = TopicPartition(LAYOUT.checkpoint, LAYOUT.checkpoint_partition)


class SteppedClock(Clock):
    """Time passes when somebody sleeps or the test says so."""

    def __init__(self) -> None:
        self.time = 1_000.0
        self.slept: list[float] = []

    def now(self) -> Micros:
        return START + round((self.time - 1_000.0) * SECOND)

    def monotonic(self) -> float:
        return self.time

    def pass_by(self, seconds: float) -> None:
        self.time += seconds

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        self.slept.append(seconds)
        self.pass_by(max(seconds, 0.0))
        await super().sleep(0)
        return stop is not None and stop.is_set()


class Crash(Exception):
    """The process ends here."""


class Api:
    """The simulated API in process; `script` may answer instead of it."""

    def __init__(
        self, clock: SteppedClock, *, events: int, past: float, seed: int, **behaviour: Any
    ) -> None:
        self.simulator = Simulator(
            clock=clock, events=events, past=past, seed=seed, behaviour=Behaviour(**behaviour)
        )
        self.asked: list[tuple[str, int, int]] = []
        """Path below /missions, page and size of each request."""
        self.script: Callable[[httpx.Request], httpx.Response | Exception | None] | None = None
        self._clock = clock
        self.seconds = 0.0
        """How long an answer takes."""

    def handle(self, request: httpx.Request) -> httpx.Response:
        self._clock.pass_by(self.seconds)
        params = request.url.params
        page, size = (int(params.get(f"page[{name}]", 0)) for name in ("number", "size"))
        self.asked.append((request.url.path.partition("/missions")[2], page, size))
        answer = self.script(request) if self.script is not None else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        reply = self.simulator.handle(
            request.method,
            request.url.raw_path.decode().partition("?")[0],
            request.url.query.decode(),
            {name.lower(): value for name, value in request.headers.items()},
            request.content,
        )
        assert reply.ending is Ending.SENT
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body)

    def insert(self, count: int = 1, **wish: Any) -> list[dict[str, Any]]:
        """Create events, as the simulator's control endpoint does."""
        events: list[dict[str, Any]] = self.simulator.control("events", {"count": count, **wish})[
            "events"
        ]
        return events

    def events(self) -> list[dict[str, Any]]:
        """Every event that there ever was."""
        found: list[dict[str, Any]] = self.simulator.ledger()["events"]
        return found

    def feed_requests(self) -> list[tuple[int, int]]:
        """Page and size of each request for the feed."""
        return [(page, size) for path, page, size in self.asked if path == "/events"]


def client_on(handle: Callable[[httpx.Request], httpx.Response], clock: Clock) -> MissionsClient:
    """Return the real client on a handler, with next to no limit of its rate."""
    return MissionsClient(
        base_url="https://api.example.test/v2",
        key=lambda: "KEY0123456789ABCDEF",
        budget=RateBudget(1e9, clock),
        clock=clock,
        transport=httpx.MockTransport(handle),
    )


def run(number: int) -> dict[str, Any]:
    """Return a run as the API shows it."""
    return {
        "run_id": f"run-{number}",
        "mission_id": f"mission-of-run-{number}",
        "status": "running",
        "started_at": "2026-03-09T12:00:00Z",
        "updated_at": "2026-03-09T12:00:00Z",
    }


class Topics:
    """What a source wrote, in the order in which it was committed."""

    def __init__(self) -> None:
        topics = {LAYOUT.events: 6, LAYOUT.checkpoint: 1, LAYOUT.dead_letters: 1, LAYOUT.audit: 1}
        self.kafka = FakeKafka(topics)
        self.asked_for: list[str] = []
        """Runs whose events were read back from the topic."""

    def events(self) -> list[dict[str, Any]]:
        return [decode(EVENTS, record.value) for record in self._written(LAYOUT.events)]

    def letters(self) -> list[bytes | None]:
        return [record.value for record in self._written(LAYOUT.dead_letters)]

    def audits(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return what was told on the audit topic, of one kind or all."""
        told = [decode(AUDITS, record.value) for record in self._written(LAYOUT.audit)]
        return [one for one in told if kind in (None, one["kind"])]

    def certificates(self) -> list[dict[str, Any]]:
        """Return the certificates of sweeps."""
        return [one["sweep"] for one in self.audits("sweep")]

    async def of_run(self, run_id: str, since: Micros) -> set[bytes] | None:
        """Digests of a run's published events."""
        self.asked_for.append(run_id)
        return {
            digest(run_id, event["event_id"])
            for event in self.events()
            if event["run_id"] == run_id
        }

    def state(self, feed: str = FEED, source: str = "default") -> Checkpoint:
        """Read the checkpoint back, as a new owner does."""
        newest = {(one.key or b"").decode(): one.value for one in self.kafka.logs[STATE]}
        live = {
            key: decode(CHECKPOINT, value)
            for key, value in newest.items()
            if value is not None and state.concerns(source, key)
        }
        return state.read_back(source, feed, live)

    @property
    def commits(self) -> int:
        return len(self.kafka.transactions)

    def crash(self, commit: int, stage: str) -> None:
        """Let the process end at its n-th commit from now, before or after it is durable."""
        left = commit

        async def hook(at: str, _: Sequence[Record]) -> None:
            nonlocal left
            if at == stage:
                left -= 1
                if left == 0:
                    raise Crash

        self.kafka.hook = hook

    def _written(self, topic: str) -> list[Record]:
        return [one for records in self.kafka.transactions for one in records if one.topic == topic]


class Bench:
    """One source on its API and its topics; `start` is what a restart does."""

    def __init__(
        self,
        *,
        events: int = 0,
        past: float = 7200.0,
        seed: int = 1,
        behaviour: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = SteppedClock()
        self.api = Api(self.clock, events=events, past=past, seed=seed, **(behaviour or {}))
        self.topics = Topics()
        self.settings = SourceSettings(**{"page_size": 50, **settings})
        self.going_on = True
        self.poller = self.start()

    def start(self) -> Poller:
        """Begin anew with what the records say."""
        self.topics.kafka.hook = None
        client = client_on(self.api.handle, self.clock)
        process = Process(self.topics.kafka, self.clock, {STATE})
        self.poller = assembled(
            self.settings,
            client=client,
            clock=self.clock,
            checkpoint=self.topics.state(),
            publisher=Publisher(CODEC, LAYOUT, "https://api.example.test/v2/ai/missions"),
            writer=FakeWriter(process, "mission-bridge.missions.source.default"),  # type: ignore[arg-type]
            on_topic=self.topics.of_run,
            may_go_on=lambda: self.going_on,
            timeout=30.0,
        )
        return self.poller

    def view(self, layout: Layout = LAYOUT) -> SourceAccess:
        """Look at the source as its tools do."""
        kafka: Any = Process(self.topics.kafka, self.clock, ())
        base_url, timeout = SETTINGS.api.base_url, SETTINGS.kafka.transaction_timeout
        desk = Desk("default", base_url, kafka, CODEC, layout, self.clock, timeout)
        client = client_on(self.api.handle, self.clock)
        index = MissionIndex(client, self.clock, "default")
        return SourceAccess(SETTINGS, self.settings, desk, client, index)

    async def turn(self) -> bool:
        """Take one turn, when it is due."""
        due = self.poller.due
        if due > self.clock.monotonic():
            self.clock.pass_by(due - self.clock.monotonic())
        return await self.poller.turn()

    async def catch_up(self, most: int = 500) -> None:
        """Take turns until nothing is waiting."""
        for _ in range(most):
            if not await self.turn():
                return
        raise AssertionError(f"still more to do after {most} turns")

    async def later(self, seconds: float = 100.0) -> None:
        """Let time pass, then catch up: with the default a deep sweep is due."""
        self.clock.pass_by(seconds)
        await self.catch_up()

    def assert_exact(self, *, without: Sequence[str] = ()) -> None:
        """Everything is published once, as the API has it, and late where it is marked so."""
        published = self.topics.events()
        ids = [event["event_id"] for event in published]
        assert len(ids) == len(set(ids)), "published twice"
        expected = {
            event["event_id"]: event
            for event in self.api.events()
            if event["deleted_at"] is None and event["event_id"] not in without
        }
        assert expected.keys() - set(ids) == set(), "lost"
        newest: dict[str, Micros] = {}
        for event in published:
            there = expected.get(event["event_id"])
            if there is not None:
                assert event["timestamp"] == micros(there["timestamp"])
                assert event["run_id"] == there["run_id"]
            before = newest.get(event["run_id"], BEGINNING)
            assert event["late"] == (before > event["timestamp"])
            newest[event["run_id"]] = max(before, event["timestamp"])
        assert self.topics.state() == self.poller.checkpoint
