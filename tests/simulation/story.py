"""One story: a scenario and a seed, played to its end and judged."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from aiokafka import TopicPartition

from bridge.dev.faults import Behaviour
from bridge.dev.simulator import Simulator
from bridge.errors import GaveUp
from simulation.brokers import Brokers
from simulation.chaos import Fate
from simulation.clients import KafkaOn, Wire
from simulation.network import TOO_MANY, Network
from simulation.oracle import Verdict, judge
from simulation.process import LAYOUT, Process
from simulation.scenarios import Scenario
from simulation.virtual import Machine, MachineClock, Stuck, VirtualLoop, passing, wall
from simulation.weather import Sky, at_text

SESSION = 10.0
PATIENCE = 3000.0
"""Seconds after which a story that is calm must have settled."""
RESTS = 4
"""Turns after which the owner of a calm source has nothing more to do, at least."""


@dataclass
class Outcome:
    """What became of a story."""

    verdict: Verdict = field(default_factory=Verdict)
    events: int = 0
    requests: int = 0
    commits: int = 0
    crashes: int = 0
    takeovers: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        return self.verdict.problems


def play(scenario: Scenario, seed: int, *, trace: bool = False) -> Outcome:
    """Play a story; the same scenario and seed always give the same one."""
    random.seed(seed)  # the bridge draws its jitter from there
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_Story(loop, scenario, seed, trace=trace).play())
    finally:
        loop.close()


class _Story:
    """Everything that exists in one story."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, seed: int, *, trace: bool) -> None:
        self._loop = loop
        self._scenario = scenario
        self._trace = trace
        self._rng = Random(f"{seed}/chaos")
        self._kafka_rng = Random(f"{seed}/kafka")
        self._network_rng = Random(f"{seed}/network")
        self._lines: list[str] = []
        self._over: asyncio.Future[None] = loop.create_future()
        self._brokers = Brokers(loop, self._kafka_rng)
        self._simulator = Simulator(
            clock=MachineClock(loop, Machine("api", lambda _: None)),
            seed=seed,
            behaviour=Behaviour(**scenario.behaviour),
        )
        if scenario.faults:
            self._simulator.control("faults", [dict(fault) for fault in scenario.faults])
        self._sky = Sky(scenario.weather, self._simulator, scenario.lateness, seed, wall(loop))
        self._is_calm, self._calm_at, self._rests = False, 0.0, 0
        self._seats: list[Process | None] = [None] * scenario.chaos.replicas
        self._owner = 0
        self._names = 0
        self._gone: list[asyncio.Task[None]] = []
        self.outcome = Outcome(lines=self._lines)

    async def play(self) -> Outcome:
        """Let things happen, calm down, wait until all is settled, and judge."""
        for seat in range(len(self._seats)):
            self._start(seat)
        meddling = [self._loop.create_task(each) for each in (self._meddle(), self._finish())]
        try:
            await self._over
        except Stuck as error:
            self._fail(str(error))
        finally:
            for task in meddling:
                task.cancel()
        await passing(1.0)  # until the last markers are written
        self._judge()
        await self._clear(meddling)
        return self.outcome

    # Processes

    def _start(self, seat: int) -> None:
        """Start a process; it joins the group, and works if the source is given to it."""
        self._names += 1
        machine = Machine(f"bridge-{self._names}", self._died)
        clock = MachineClock(self._loop, machine, self._napped)
        if self._is_calm:
            clock.pace = self._scenario.lateness
        tell = self._teller(machine.name)
        chaos = self._scenario.chaos
        wire = Wire(
            machine,
            self._brokers,
            self._kafka_rng,
            lambda: Fate.FINE if self._is_calm else chaos.fate(self._kafka_rng),
            tell,
        )
        network = Network(
            self._scenario.roads,
            machine,
            clock,
            self._simulator,
            self._sky,
            self._network_rng,
            self._before_request,
            tell,
            self._scenario.lateness,
        )
        process = Process(self._scenario, machine, clock, KafkaOn(wire), network, self._ended)
        self._seats[seat] = process
        self._tell(machine.name, "starts")
        process.seat.give(owned=seat == self._owner)

    def _died(self, machine: Machine) -> None:
        seat = self._seat_of(machine)
        process = self._seats[seat]
        assert process is not None
        self._tell(machine.name, "is killed")
        self.outcome.crashes += 1
        self._leave(seat, process)

    def _leave(self, seat: int, process: Process) -> None:
        """Take a process that is gone out of its seat, and let another start."""
        self.outcome.requests += process.network.requests
        self._gone += process.abandon()
        self._seats[seat] = None
        self._loop.call_later(self._rng.uniform(0.5, 3.0), self._start, seat)
        if len(self._seats) > 1 and seat == self._owner:
            self._loop.call_later(SESSION, self._hand_over, seat)

    def _ended(self, process: Process, error: BaseException | None) -> None:
        """A process ended by itself: only one that gave up is started again."""
        if process.machine.dead:
            return
        if isinstance(error, GaveUp):
            self._tell(process.machine.name, f"gives up: {error}")
            process.machine.dead = True
            self._leave(self._seat_of(process.machine), process)
            return
        lines = traceback.format_exception(error) if error is not None else ["without a reason"]
        self._tell(process.machine.name, "ends:\n" + "".join(lines))
        self._fail(f"{process.machine.name} ended: {type(error).__name__}: {error}")

    def _seat_of(self, machine: Machine) -> int:
        return next(
            number
            for number, process in enumerate(self._seats)
            if process is not None and process.machine is machine
        )

    def _before_request(self, machine: Machine) -> None:
        process = self._seats[self._seat_of(machine)]
        if process is not None and process.network.requests > TOO_MANY:
            self._fail(f"{TOO_MANY} requests: it does not end")
        if self._rng.random() < self._scenario.chaos.killed_reading and not self._is_calm:
            machine.die()

    # The group

    def _hand_over(self, giving: int) -> None:
        """Give the source to the other replica; either of them may hear of it first."""
        if giving != self._owner or len(self._seats) == 1:
            return
        self._owner = (giving + 1) % len(self._seats)
        self.outcome.takeovers += 1
        self._tell("group", f"gives the source to seat {self._owner}")
        for seat in range(len(self._seats)):
            self._loop.call_later(self._rng.uniform(0.0, 3.0), self._inform, seat)

    def _inform(self, seat: int) -> None:
        """Let a process know what the group decided; one that is frozen hears it when it wakes."""
        process = self._seats[seat]
        if process is None:
            return
        if process.machine.is_frozen:
            self._loop.call_later(1.0, self._inform, seat)
        else:
            process.seat.give(owned=seat == self._owner)

    # What happens from outside

    async def _meddle(self) -> None:
        """Freeze, hand over and cut off, by chance, until it is calm."""
        chaos, roads, rng = self._scenario.chaos, self._scenario.roads, self._rng
        kinds: dict[Callable[[], Coroutine[Any, Any, None]], float] = {
            self._freeze: chaos.frozen,
            self._rebalance: chaos.handed_over,
            self._cut_off_kafka: chaos.kafka_away,
            self._cut_off_api: roads.outages,
            self._leave_open: chaos.foreign,
        }
        total = sum(kinds.values())
        if not total:
            return
        while not self._is_calm:
            await passing(rng.expovariate(total))
            (happen,) = rng.choices(list(kinds), list(kinds.values()))
            await happen()

    async def _freeze(self) -> None:
        seat = self._owner
        process = self._seats[seat]
        if process is None:
            return
        machine = process.machine
        self._tell(machine.name, "freezes")
        machine.freeze()
        seconds = self._rng.choice((1.0, 5.0, 12.0, 20.0, 50.0))
        if seconds > SESSION:
            self._loop.call_later(SESSION, self._hand_over, seat)
        self._loop.call_later(seconds, self._thaw, machine)

    def _thaw(self, machine: Machine) -> None:
        if machine.is_frozen:
            self._tell(machine.name, "wakes up")
            machine.thaw()

    async def _rebalance(self) -> None:
        self._hand_over(self._owner)

    async def _cut_off_kafka(self) -> None:
        self._tell("kafka", "is away")
        self._brokers.away = True
        await passing(self._rng.choice((3.0, 20.0, 100.0)))
        self._brokers.away = False
        self._tell("kafka", "is back")

    async def _cut_off_api(self) -> None:
        self._tell("api", "is away")
        self._set_api_away(away=True)
        await passing(self._rng.uniform(30.0, 200.0))
        self._set_api_away(away=False)
        self._tell("api", "is back")

    def _set_api_away(self, *, away: bool) -> None:
        for process in self._seats:
            if process is not None:
                process.network.away = away

    async def _leave_open(self) -> None:
        self._tell("stranger", "leaves a transaction open on the checkpoint's partition")
        at = TopicPartition(LAYOUT.checkpoint, LAYOUT.checkpoint_partition)
        self._brokers.leave_open("stranger", at)

    # The end

    async def _finish(self) -> None:
        """After its time the story calms down; it is over when its owner has settled."""
        scenario = self._scenario
        await passing(scenario.seconds)
        self._calm_down()
        await passing(PATIENCE)
        self._fail("it does not settle")

    def _napped(self, machine: Machine, seconds: float) -> None:
        """Count the owner's rests after a turn, once it is calm; after some of them it is over."""
        process = self._seats[self._owner]
        if not self._is_calm or process is None or process.machine is not machine:
            return
        if seconds != self._scenario.poll or process.source.status()["state"] != "tailing":
            return
        self._rests += 1
        settled = self._loop.time() >= self._calm_at + self._scenario.settle
        if settled and self._rests >= RESTS and not self._over.done():
            self._over.set_result(None)

    def _calm_down(self) -> None:
        self._tell("story", "calms down")
        self._is_calm, self._calm_at = True, self._loop.time()
        self._sky.blow(wall(self._loop))
        self._sky.is_calm = True
        self._brokers.away = False
        self._set_api_away(away=False)
        if self._scenario.faults:
            self._simulator.control("reset-faults", {})
        for seat, process in enumerate(self._seats):
            if process is not None:
                self._thaw(process.machine)
                process.clock.pace = self._scenario.lateness
                self._inform(seat)

    def _judge(self) -> None:
        outcome = self.outcome
        world = self._simulator.world
        broken = dict(self._sky.broken)
        rows = set(broken.values())
        expected = {
            (event.run_id, event.event_id): event
            for event in world.history
            if event.deleted_at is None and event not in rows
        }
        owner = self._seats[self._owner]
        poller = owner.source._poller if owner is not None else None
        problems = outcome.verdict.problems
        outcome.verdict = judge(
            self._brokers, expected, broken, None if poller is None else poller.checkpoint
        )
        outcome.verdict.problems[:0] = problems
        outcome.events = len(world.history)
        outcome.commits = self._brokers.commits
        outcome.requests += sum(p.network.requests for p in self._seats if p is not None)

    async def _clear(self, tasks: list[asyncio.Task[None]]) -> None:
        """End what is left, so that nothing of one story runs in the next."""
        for process in self._seats:
            if process is not None:
                process.machine.dead = True
                process.machine.thaw()
                tasks = tasks + process.abandon()
        await asyncio.wait([*tasks, *self._gone])

    def _fail(self, problem: str) -> None:
        if not self._over.done():
            self.outcome.verdict.problems.append(problem)
            self._over.set_result(None)

    def _teller(self, name: str) -> Callable[[str], None]:
        return lambda text: self._tell(name, text)

    def _tell(self, who: str, what: str) -> None:
        if self._trace:
            self._lines.append(f"{at_text(wall(self._loop))} {who:<10} {what}")
