"""What all that takes part in one story shares: time, chance, the API, Kafka, and the account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from aiokafka import TopicPartition
from simulation.chaos import Fate
from simulation.virtual import START, Machine, VirtualLoop, wall
from simulation.weather import at_text

from bridge.clock import SECOND
from bridge.commands.brakes.brake import Scope
from bridge.config.models import ApiSettings, CommandSettings, Settings
from command_simulation.api import Api
from command_simulation.cluster import Cluster
from command_simulation.group import SESSION, Group
from command_simulation.orders import ALL_VERBS, DENIED, Order, Users
from command_simulation.roads import Roads
from command_simulation.scenarios import Scenario

COMMANDS: Final = "missions.commands"
STATE: Final = "missions.command-state"
RESULTS: Final = "missions.command-results"
LETTERS: Final = "missions.commands.dlq"
NOTICED: Final = 2.0
"""Seconds after which every bridge that runs has noticed a brake."""
MISSIONS: Final = 2
RUNS: Final = 3


@dataclass(slots=True)
class Pulled:
    """A brake that somebody set; times on the loop's clock."""

    scope: Scope
    since: float
    until: float | None = None

    def holds(self, verb: str, mission: str | None, at: float) -> bool:
        """Whether no request of such a command may leave at a time."""
        scope, noticed = self.scope, self.since + NOTICED
        here = scope.verb in {None, verb} and scope.mission_id in {None, mission}
        return here and noticed < at and (self.until is None or at < self.until)


class Stage:
    """The world of one story. Each kind of chance has a stream of its own."""

    def __init__(self, loop: VirtualLoop, scenario: Scenario, seed: int, *, trace: bool) -> None:
        self.loop = loop
        self.scenario = scenario
        self.chance = Random(f"{seed}/chaos")
        self.kafka_chance = Random(f"{seed}/kafka")
        self.network_chance = Random(f"{seed}/network")
        count = scenario.partitions
        counts = {COMMANDS: count, STATE: count, RESULTS: count, LETTERS: 1}
        self.cluster = Cluster(loop, self.kafka_chance, counts)
        self.group = Group(
            loop,
            self.chance,
            frozenset(TopicPartition(COMMANDS, number) for number in range(count)),
            deaf=scenario.chaos.deaf,
            is_away=lambda: self.cluster.away,
            tell=self.tell,
        )
        self.settings = settings_of(scenario)
        self.api = Api()
        self.api.knows_keys = not scenario.roads.forgets_keys
        self.missions: list[str] = []
        """Those that are there from the beginning."""
        for _ in range(MISSIONS):
            mission = self.api.add_mission(START - 3600 * SECOND)
            self.missions.append(mission["mission_id"])
            for _ in range(RUNS):
                self.api.add_run(START - 3600 * SECOND, mission["mission_id"])
        self.users = Users(scenario.mix, self.api, Random(f"{seed}/users"), count)
        self.orders: list[Order] = []
        self.unclear: set[str] = set()
        """Marks of requests of which nobody could know what became of them."""
        self.forbidden: set[str] = set()
        self.brakes: list[Pulled] = []
        self.meddled: set[str] = set()
        """Runs that somebody else changed."""
        self.tenures: dict[str, Callable[[int], int]] = {}
        """By machine: what tells its ownership of a partition from an earlier one."""
        self.under_way = 0
        """Requests that may still be carried out."""
        self.requests = 0
        self.api_away = self.key_refused = self.registry_away = False
        self.is_calm = False
        self.over = loop.create_future()
        self.problems: list[str] = []
        self.lines: list[str] = []
        self._trace = trace

    @property
    def brokers(self) -> Cluster:
        """The cluster, under the name that the clients know."""
        return self.cluster

    @property
    def roads(self) -> Roads:
        """How requests travel now."""
        return CALM if self.is_calm else self.scenario.roads

    def tell(self, who: str, what: str) -> None:
        """Add a line to the account, if anybody wants one."""
        if self._trace:
            self.lines.append(f"{at_text(wall(self.loop))} {who:<10} {what}")

    def fate(self) -> Fate:
        """Draw what becomes of the next transaction."""
        return Fate.FINE if self.is_calm else self.scenario.chaos.fate(self.kafka_chance)

    def freeze(self, machine: Machine) -> None:
        """Stop a machine for a while; the group may put it out."""
        if machine.is_frozen or machine.dead or self.is_calm:
            return
        seconds = self.chance.choice(self.scenario.freezes)
        self.tell(machine.name, f"freezes for {seconds:g} s")
        machine.freeze()
        if seconds > SESSION:
            self.loop.call_later(SESSION, self._miss, machine)
        self.loop.call_later(seconds, self._thaw, machine)

    def _miss(self, machine: Machine) -> None:
        if machine.is_frozen:
            self.group.silent(machine)

    def _thaw(self, machine: Machine) -> None:
        if machine.is_frozen and not machine.dead:
            self.tell(machine.name, "wakes up")
        machine.thaw()

    def tenure(self, machine: Machine, number: int) -> str:
        """Name a process and the time for which it owns a partition of commands."""
        return f"{machine.name}/{self.tenures[machine.name](number)}"

    def calm_down(self) -> None:
        """From now on nothing happens any more, and nothing fails."""
        self.tell("story", "calms down")
        self.is_calm = True
        self.cluster.away = False
        self.api_away = self.key_refused = self.registry_away = False

    def fail(self, problem: str) -> None:
        """End the story with a problem."""
        if not self.over.done():
            self.problems.append(problem)
            self.end()

    def end(self) -> None:
        """End the story."""
        if not self.over.done():
            self.over.set_result(None)


CALM: Final = Roads()


def settings_of(scenario: Scenario) -> Settings:
    """Return the settings of a story's bridges: the defaults, as far as it goes."""
    commands = CommandSettings(
        on_doubt="resolve" if scenario.resolve else "strict",
        allow=frozenset(ALL_VERBS) - ({DENIED} if scenario.mix.denied else set()),
    )
    return Settings(api=ApiSettings(rate=1000), commands=commands)
