"""What the demo knows at a moment: filled by what happens, shown by `demo_view`. No I/O, no clock.

Times called `now` are seconds of a monotonic clock; times of events are datetimes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

_LAST_EVENTS = 50
_RATE_SECONDS = 3


class Phase(NamedTuple):
    """What goes on, and why it is worth watching."""

    headline: str
    why: str


SETTING = Phase(
    "Setting the stage",
    "Kafka, a schema registry and a simulated Missions API, on this machine alone.",
)
STARTING = Phase(
    "The bridge starts",
    "`mission-bridge run`, a process of its own, as you would run it.",
)
READING = Phase(
    "It reads the past, oldest first",
    "A transaction holds events together with the position they reach.",
)
STEERING = Phase(
    "Live: events flow to Kafka, commands on Kafka steer runs",
    "A record starts, pauses, resumes and ends a run; its one result comes back.",
)
KILLED = Phase(
    "kill -9: the bridge is dead, in the middle of its work",
    "The API goes on. One command was sent just before, another waits on Kafka now.",
)
RESTARTED = Phase(
    "Started again: it reads its checkpoint and its ledger from Kafka",
    "It goes on where the last transaction ended, and does no command twice.",
)
RECOVERED = Phase(
    "It caught up: what happened meanwhile is there, nothing is there twice",
    "Commands sent around the kill have their one result.",
)
ENDING = Phase(
    "The API falls silent, the bridge drains",
    "It publishes what is left, then SIGTERM ends it with exit status 0.",
)
PROVING = Phase(
    "The proof",
    "Another reader reads everything from the beginning and compares.",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as it was decoded from Kafka."""

    at: datetime
    run_id: str
    type: str
    summary: str
    late: bool


@dataclass(slots=True)
class Order:
    """A command, and its result once there is one; `took` in seconds."""

    command_id: str
    verb: str
    run: str
    sent_at: float
    status: str | None = None
    took: float = 0.0
    error: str | None = None


@dataclass(slots=True)
class BridgeState:
    """The bridge's process and what its ops port last said of the source."""

    word: str = "not started"
    pid: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SteeredRun:
    """A run that commands steer: the name it has here, and the statuses that the API showed."""

    name: str
    trail: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """Its status now, "" before it was seen."""
        return self.trail[-1] if self.trail else ""


class Scene:
    """The demo so far; `seconds` is how long the bridge is to be watched."""

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds = seconds
        self.phase = SETTING
        self.bridge = BridgeState()
        self.told: list[tuple[float, str]] = []
        """Everything worth a line, with its time."""
        self.last: deque[Seen] = deque(maxlen=_LAST_EVENTS)
        self.on_kafka = 0
        self.in_api = 0
        self.orders: dict[str, Order] = {}
        self.steps: list[Order | str] = []
        """The commands, and what else was done to the bridge, in their order."""
        self.runs: dict[str, SteeredRun] = {}
        self._began = now
        self._up_at: float | None = None
        self._per_second: Counter[int] = Counter()

    # What happens

    def tell(self, text: str, now: float) -> None:
        """Say something worth a line."""
        self.told.append((now - self._began, text))

    def enter(self, phase: Phase, now: float) -> None:
        """Begin a phase."""
        self.phase = phase
        self.tell(f"-- {phase.headline}. {phase.why}", now)

    def up(self, now: float) -> None:
        """Let the watching begin: the bridge is up for the first time."""
        self._up_at = now

    def process(self, word: str, pid: int = 0) -> None:
        """Say how the bridge's process is."""
        self.bridge.word, self.bridge.pid = word, pid

    def blow(self, text: str, now: float) -> None:
        """Say what was done to the bridge, among the commands as well."""
        self.steps.append(text)
        self.tell(text, now)

    def status(self, source: Mapping[str, Any]) -> None:
        """Take in what the bridge says of its source; what it does not know yet stays as it was."""
        known = {name: value for name, value in source.items() if value is not None}
        self.bridge.source = {**self.bridge.source, **known}

    def event(self, value: Mapping[str, Any], now: float) -> None:
        """Take in an event that was read from Kafka."""
        seen = Seen(
            value["timestamp"], value["run_id"], value["type"], value["summary"], value["late"]
        )
        if not self.on_kafka:
            self.tell(f"first decoded event on Kafka: {seen.type}, {seen.summary!r}", now)
        self.on_kafka += 1
        self.last.append(seen)
        self._per_second[int(now)] += 1

    def sent(self, command_id: str, verb: str, run: str, now: float) -> Order:
        """Take in a command that is on Kafka now."""
        self.orders[command_id] = order = Order(command_id, verb, run, now)
        self.steps.append(order)
        self.tell(f"command {verb} (run {run}) is on Kafka", now)
        return order

    def result(self, value: Mapping[str, Any], now: float) -> None:
        """Take in a result that was read from Kafka."""
        order = self.orders.get(value["command_id"])
        if order is None or not value["final"]:
            return
        order.status, order.took = value["status"], now - order.sent_at
        order.error = (value["error"] or {}).get("message")
        if value["run_id"] and value["run_id"] not in self.runs:
            self.runs[value["run_id"]] = SteeredRun(order.run)
        reason = f": {order.error}" if order.error else ""
        self.tell(f"result of {order.verb} (run {order.run}): {order.status}{reason}", now)

    def run_is(self, run_id: str, status: str, now: float) -> None:
        """Take in the status of a run as the API shows it."""
        run = self.runs[run_id]
        if run.status != status:
            run.trail.append(status)
            self.tell(f"the API shows run {run.name} as {status}", now)

    # What it comes to

    def run_named(self, name: str) -> str | None:
        """The id of a run by its name, None as long as it is not known."""
        return next((run_id for run_id, run in self.runs.items() if run.name == name), None)

    def watched(self, now: float) -> float:
        """Seconds since the bridge was up, at most as many as were asked for."""
        return 0.0 if self._up_at is None else min(now - self._up_at, self.seconds)

    def rate(self, now: float) -> float:
        """Events a second that arrived on Kafka lately."""
        whole = range(int(now) - _RATE_SECONDS, int(now))
        return sum(self._per_second[second] for second in whole) / _RATE_SECONDS

    def history(self, now: float, count: int) -> list[int]:
        """Events of each of the last `count` whole seconds, oldest first."""
        return [self._per_second[second] for second in range(int(now) - count, int(now))]

    def behind(self, wall: float) -> float | None:
        """Seconds since the newest moment up to which everything is on Kafka, as last heard.

        `wall` is the time of day in epoch seconds.
        """
        fresh_until = self.bridge.source.get("fresh_until")
        if fresh_until is None:
            return None
        return max(0.0, wall - datetime.fromisoformat(fresh_until).timestamp())
