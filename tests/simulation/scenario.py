"""What there is to say of one kind of story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulation.chaos import Chaos
from simulation.roads import Roads
from simulation.weather import Weather


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading a steady feed may cost at most."""

    budget: float = 10.0
    """Requests a second that a process may make in all."""
    beyond: float = 2.0
    """Requests for the feed a second, beyond those that new events and polls need."""
    warm: float = 60.0
    """Seconds from the start that do not count."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one kind of story is about. Times in seconds."""

    about: str
    weather: Weather = field(default_factory=Weather)
    roads: Roads = field(default_factory=Roads)
    chaos: Chaos = field(default_factory=Chaos)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    """Of the simulated API: see `bridge.dev.api.faults.Behaviour`."""
    faults: tuple[Mapping[str, Any], ...] = ()
    """Of the simulated API, until the story calms down."""
    start: float | Literal["earliest", "latest"] = "earliest"
    """Where the source is told to begin; a number counts from the time of its start."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    sources: int = 1
    """How many accounts are read at once, each by processes of its own."""
    page: int = 20
    lateness: float = 20.0
    poll: float = 2.0
    seconds: float = 40.0
    """How long the story goes on before everything calms down."""
    settle: float = 70.0
    """How long it goes on after that, at least."""
    audits: float = 200.0
    """Seconds between two audits of a live run."""
    requests: int = 4000
    """More than so many are a livelock."""
    seals: bool = False
    """Every run that ended must be sealed in the end."""
    share: float = 1.0
    """Stories of this kind for each one of another: long ones are played less often."""
    is_race: bool = False
    """The backlog must be read within `seconds`, then it calms down at once."""
    cost: Cost | None = None
    """Judged while the story goes on."""
    producers: int = 100
    """More than so many opened are owners that fence each other for ever."""
