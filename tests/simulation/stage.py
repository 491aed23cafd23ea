"""What all that takes part in one story shares: time, chance, the API, Kafka, and the account."""

from __future__ import annotations

from random import Random

from bridge.clock import Micros
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.simulator import Simulator
from simulation.brokers import Brokers
from simulation.chaos import Fate
from simulation.scenario import Scenario
from simulation.virtual import Machine, MachineClock, VirtualLoop, wall
from simulation.weather import Sky, at_text


class Stage:
    """The world of one source in a story. Each kind of chance has a stream of its own."""

    def __init__(
        self,
        loop: VirtualLoop,
        brokers: Brokers,
        scenario: Scenario,
        source: str,
        seed: int,
        *,
        trace: bool,
    ) -> None:
        self.loop = loop
        self.scenario = scenario
        self.source = source
        self.chance = Random(f"{seed}/chaos")
        self.kafka_chance = brokers.chance
        self.network_chance = Random(f"{seed}/network")
        self.brokers = brokers
        self.clock = MachineClock(loop, Machine("api", lambda _: None))
        self.simulator = Simulator(
            clock=self.clock, seed=seed, behaviour=Behaviour(**scenario.behaviour)
        )
        if scenario.faults:
            self.simulator.control("faults", [dict(fault) for fault in scenario.faults])
        self.sky = Sky(scenario.weather, self.simulator, scenario.lateness, seed, wall(loop))
        self.api_away = False
        self.hides_runs = self.network_chance.random() < scenario.roads.hidden_runs
        self.requests = 0
        self.asked: list[tuple[Micros, str]] = []
        """When each request was made and for what, until all is calm."""
        self.is_calm = False
        self.over = loop.create_future()
        self.problems: list[str] = []
        self.lines: list[str] = []
        self._trace = trace

    def tell(self, who: str, what: str) -> None:
        """Add a line to the account, if anybody wants one."""
        if self._trace:
            self.lines.append(f"{at_text(wall(self.loop))} {who:<10} {what}")

    def fate(self) -> Fate:
        """Draw what becomes of the next transaction."""
        return Fate.FINE if self.is_calm else self.scenario.chaos.fate(self.kafka_chance)

    def on_request(self, machine: Machine, path: str) -> None:
        """Count a request; the machine may die of it."""
        self.requests += 1
        if self.scenario.cost is not None and not self.is_calm:
            self.asked.append((wall(self.loop), path))
        if self.requests > self.scenario.requests:
            self.fail(f"more than {self.scenario.requests} requests")
        risk = self.scenario.chaos.killed_reading
        if risk and not self.is_calm and self.chance.random() < risk:
            machine.die()

    def calm_down(self) -> None:
        """From now on nothing happens any more, and nothing fails."""
        self.tell("story", "calms down")
        self.sky.blow(wall(self.loop))
        self.is_calm = self.sky.is_calm = True
        self.brokers.away = self.api_away = False
        if self.scenario.faults:
            self.simulator.control("reset-faults", {})

    def fail(self, problem: str) -> None:
        """End the story with a problem."""
        if not self.over.done():
            self.problems.append(problem)
            self.end()

    def end(self) -> None:
        """End the story."""
        if not self.over.done():
            self.over.set_result(None)
