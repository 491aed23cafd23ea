"""Every way in which three attempts at one run start can go, walked as a tree.

An attempt is a crash point and what the server does and the bridge sees of it: 5 times 10, so three
attempts go in 125,000 ways. Most end at the first attempt, and an attempt that crashes before its
call does not ask what the server would have done: a `Path` stands for all the ways that it does not
tell apart.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import httpx
import pytest
from commands_bench import RESULTS, STATE, Bench, start
from commands_world import RUN, FakeApi, refusal, run
from support import fake_kafka

from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.commands import engine
from bridge.kafka.producer import Record
from bridge.missions.client import MissionsClient
from bridge.missions.faults import refused, translated
from bridge.missions.wire import RawAnswer

ATTEMPTS = 3
SETTLE = 2.0


class Crash(Enum):
    """Where the process is killed in an attempt."""

    NONE = "not at all"
    BEFORE_INTENT = "before the intent is durable"
    AFTER_INTENT = "before the call"
    IN_CALL = "before the answer comes"
    AFTER_ANSWER = "before what the answer says is durable"


class Fate(Enum):
    """What the server does, and what the bridge sees."""

    OK = "done, 201"
    REJECTED = "not done, 422"
    REFUSED = "no connection"
    LIMITED = "429"
    BROKEN = "not done, 500"
    BROKEN_AFTER = "done, 500"
    LOST = "done, no answer"
    NEVER = "not done, no answer"
    LATE = "no answer, done within the settle time"
    TOO_LATE = "no answer, done after the settle time"


_DONE = (Fate.OK, Fate.BROKEN_AFTER, Fate.LOST)
_STATUS = {Fate.REJECTED: 422, Fate.LIMITED: 429, Fate.BROKEN: 500, Fate.BROKEN_AFTER: 500}
WAYS = (len(Crash) * len(Fate)) ** ATTEMPTS


@dataclass
class Path:
    """What was decided, each as (choice, of how many); later decisions take the first choice."""

    decided: Sequence[tuple[int, int]]
    taken: list[tuple[int, int]] = field(default_factory=list)
    attempts: list[tuple[Crash, Fate | None]] = field(default_factory=list)

    def pick(self, choices: int) -> int:
        """Take the next decision."""
        at = len(self.taken)
        choice = self.decided[at][0] if at < len(self.decided) else 0
        self.taken.append((choice, choices))
        return choice

    @property
    def ways(self) -> int:
        """How many of the ways it stands for."""
        untold = sum(fate is None for _, fate in self.attempts)
        left = ATTEMPTS - len(self.attempts)
        return int(len(Fate) ** untold * (len(Crash) * len(Fate)) ** left)

    def after(self) -> list[tuple[int, int]] | None:
        """Return the decisions of the next path of the tree, None after the last."""
        decided = list(self.taken)
        while decided:
            choice, choices = decided.pop()
            if choice + 1 < choices:
                return [*decided, (choice + 1, choices)]
        return None

    def __str__(self) -> str:
        return " / ".join(f"{crash.name} {fate and fate.name}" for crash, fate in self.attempts)


@dataclass(frozen=True)
class End:
    """What became of the command."""

    path: Path
    effects: int
    results: list[dict[str, Any]]

    @property
    def problems(self) -> Iterator[str]:
        """Say what must never be, under any policy."""
        finals = [result["status"] for result in self.results if result["final"]]
        too_late = any(fate is Fate.TOO_LATE for _, fate in self.path.attempts)
        if len(finals) != 1:
            yield f"{len(finals)} final results"
            return
        if self.effects > 1 and not too_late:
            yield f"{self.effects} effects"
        if finals[0] == "SUCCEEDED" and not self.effects:
            yield "SUCCEEDED without an effect"
        if finals[0] not in ("SUCCEEDED", "IN_DOUBT") and self.effects and not too_late:
            yield f"{finals[0]} though executed"

    @property
    def strict_problems(self) -> Iterator[str]:
        """Say what must never be under `strict`, however late a request is carried out."""
        if self.effects > 1:
            yield f"{self.effects} effects"
        if self.effects and self.results[-1]["status"] not in ("SUCCEEDED", "IN_DOUBT"):
            yield f"{self.results[-1]['status']} though executed"


class ModelBench(Bench):
    """A bench that goes one path; its codec is shared, as making one takes longer than a path."""

    _codec: Codec | None = None

    def __init__(self, path: Path, policy: str) -> None:
        super().__init__(on_doubt=policy, settle=SETTLE, timeout=1.0)
        self.path = path
        self.crashed = asyncio.Event()
        self.ended = asyncio.Event()
        self.late: list[httpx.Request] = []
        self.api.script = self._serve
        older = run(run_id=RUN.replace("0", "1"), started_at="2026-02-23T16:39:27Z")
        self.api.runs = {older["run_id"]: older, **self.api.runs}
        self._crash = Crash.NONE

    async def open(self) -> ModelBench:
        if ModelBench._codec is None:
            await super().open()
            ModelBench._codec = self.codec
        self.codec = ModelBench._codec
        return self

    def client(self) -> MissionsClient:
        """Return a client that reaches the API without the cost of HTTP."""
        client = super().client()
        client._wire = DirectWire(self.api, self.clock)  # type: ignore[assignment]
        return client

    async def go(self) -> End:
        """Send the command and go on until it has its final result and nothing is under way."""
        await self.open()
        self.send(start("c1"))
        while not self.ended.is_set():
            self.crashed.clear()
            self.kafka.hook = self._watch
            self.begin()
            waits = [asyncio.ensure_future(e.wait()) for e in (self.crashed, self.ended)]
            await asyncio.wait({*waits, self.bridge}, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self.bridge.done():
                self.bridge.result()
            await self.crash()
        for request in self.late:
            self.api.carry_out("start", request)
        return End(self.path, self.api.effects["c1"], await self.read(RESULTS))

    async def _watch(self, at: str, records: Sequence[Record]) -> None:
        if not any(record.topic in (STATE, RESULTS) for record in records):
            return
        kinds = set(await self.kinds(records)) - {"claim", "position"}
        if at == "before" and "intent" in kinds:
            self._crash = Crash.NONE
            if len(self.path.attempts) < ATTEMPTS:
                self._crash = list(Crash)[self.path.pick(len(Crash))]
                self.path.attempts.append((self._crash, None))
        stops_at = {
            ("before", "intent"): Crash.BEFORE_INTENT,
            ("after", "intent"): Crash.AFTER_INTENT,
            ("before", "done"): Crash.AFTER_ANSWER,
            ("before", "doubt"): Crash.AFTER_ANSWER,
            ("before", "withdrawn"): Crash.AFTER_ANSWER,
        }
        if any(stops_at.get((at, kind)) is self._crash for kind in kinds):
            await self._hang()
        if at == "after" and "done" in kinds:
            self.ended.set()

    async def _hang(self) -> None:
        self._crash = Crash.NONE
        self.crashed.set()
        await asyncio.Event().wait()

    async def _serve(self, operation: str, request: httpx.Request) -> Any:
        if operation != "start" or self.path.attempts[-1][1] is not None:
            return None
        fate = list(Fate)[self.path.pick(len(Fate))]
        self.path.attempts[-1] = (self.path.attempts[-1][0], fate)
        done = self.api.carry_out(operation, request) if fate in _DONE else None
        if fate is Fate.TOO_LATE:
            self.late.append(request)
        if fate is Fate.LATE:
            self._tasks.append(asyncio.create_task(self._do_late(request)))
        if self._crash is Crash.IN_CALL:
            await self._hang()
        if fate is Fate.OK:
            return done
        if fate in _STATUS:
            return refusal(_STATUS[fate])
        return httpx.ConnectError("refused") if fate is Fate.REFUSED else httpx.ReadTimeout("")

    async def _do_late(self, request: httpx.Request) -> None:
        await self.clock.sleep(SETTLE / 2)
        self.api.carry_out("start", request)


@dataclass(frozen=True)
class Request:
    """As much of a request as the API in memory looks at."""

    method: str
    url: Url
    content: bytes


@dataclass(frozen=True)
class Url:
    path: str
    params: Mapping[str, str | int]


class DirectWire:
    """Stands in for `Wire`: most of a path's time would be spent in httpx."""

    def __init__(self, api: FakeApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    async def exchange(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: str | None = None,
        check: Callable[[], None] | None = None,
    ) -> RawAnswer:
        if check is not None:
            check()
        url = Url(f"/v2/ai/missions{path}", params or {})
        request: Any = Request(method, url, (body or "").encode())
        try:
            answer = await self._api.handle(request)
        except httpx.HTTPError as error:
            raise translated(operation, error) from error
        if answer.is_success:
            now = self._clock.monotonic()
            return RawAnswer(
                operation, answer.status_code, answer.headers, answer.content, now, 0.0
            )
        raise refused(operation, answer.status_code, answer.headers, answer.text, None)


@dataclass
class Tally:
    """What a part of the tree came to."""

    ways: int = 0
    paths: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, end: End, policy: str) -> None:
        """Count one path."""
        self.ways += end.path.ways
        self.paths += 1
        self.statuses.update(r["status"] for r in end.results if r["final"])
        self.twice += end.effects > 1
        found = [*end.problems, *(end.strict_problems if policy == "strict" else ())]
        self.problems += [f"{policy} {end.path}: {problem}" for problem in found]

    def plus(self, other: Tally) -> None:
        """Add another part."""
        self.ways += other.ways
        self.paths += other.paths
        self.statuses.update(other.statuses)
        self.twice += other.twice
        self.problems += other.problems


FIRST_ATTEMPTS = [
    *([(crash, len(Crash))] for crash in (1, 2)),
    *([(crash, len(Crash)), (fate, len(Fate))] for crash in (0, 3, 4) for fate in range(len(Fate))),
]
"""The first attempt's decisions: crashes before the call leave the fate open."""


def walk(policy: str, first: list[tuple[int, int]]) -> Tally:
    """Go all paths that begin with these decisions; the work of one process."""
    with pytest.MonkeyPatch.context() as patch:
        fake_kafka.plug_in(patch)
        # Fewer turns of the loop for the same time; what it waits for is not what is modelled.
        patch.setattr(engine, "POLL", 1.0)
        patch.setattr(fake_kafka, "JOINING", 0.5)
        return asyncio.run(_walk(policy, first))


async def _walk(policy: str, first: list[tuple[int, int]]) -> Tally:
    tally = Tally()
    decided: list[tuple[int, int]] | None = first
    while decided is not None and decided[: len(first)] == first:
        path = Path(decided)
        tally.add(await asyncio.wait_for(ModelBench(path, policy).go(), 60), policy)
        gc.collect()  # tasks of a path that is over make those of the next one slow to find
        decided = path.after()
    return tally
