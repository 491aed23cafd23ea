"""The scenarios: each a way in which the API, Kafka and processes misbehave together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulation.chaos import Chaos
from simulation.network import Roads
from simulation.weather import Weather


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one kind of story is about. Times in seconds."""

    about: str
    weather: Weather = field(default_factory=Weather)
    roads: Roads = field(default_factory=Roads)
    chaos: Chaos = field(default_factory=Chaos)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    """Of the simulated API: see `bridge.dev.faults.Behaviour`."""
    faults: tuple[Mapping[str, Any], ...] = ()
    """Of the simulated API, until the story calms down."""
    page: int = 20
    lateness: float = 20.0
    poll: float = 2.0
    seconds: float = 60.0
    """How long the story goes on before everything calms down."""
    settle: float = 70.0
    """How long it goes on after that, at least."""


CRASHING = Chaos(killed=0.1)
BAD_KAFKA = Chaos(killed=0.03, doubtful=0.1, repeated=0.05)

SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario("bursts, and nothing else"),
    "ties": Scenario("a coarse clock: many equal timestamps", behaviour={"granularity": 5}),
    "late": Scenario(
        "events appear late, within the lateness window",
        Weather(late=0.1),
        behaviour={"granularity": 3},
        chaos=CRASHING,
    ),
    "deletions": Scenario(
        "missions vanish while pages are read",
        Weather(late=0.1, deletions=0.03),
        behaviour={"granularity": 3},
        chaos=CRASHING,
    ),
    "doubtful": Scenario(
        "commits that fail, go unanswered, or are ended twice",
        Weather(late=0.1, bursts=0.02),
        chaos=BAD_KAFKA,
    ),
    "takeover": Scenario(
        "two replicas: one freezes, the other takes over, the first wakes up",
        Weather(late=0.1, deletions=0.01),
        chaos=Chaos(replicas=2, killed=0.03, frozen=0.03, handed_over=0.02, repeated=0.02),
    ),
}
