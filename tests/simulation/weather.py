"""What happens in the simulated organization: events appear, missions vanish, clocks step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, count
from random import Random
from typing import Final

from bridge.clock import SECOND, Micros
from bridge.dev.api.answers import instant
from bridge.dev.api.feed import SimulatedEvent
from bridge.dev.api.simulator import Simulator
from bridge.dev.api.world import Ids, SimulatedMission, SimulatedRun

MISSIONS: Final = 5
RUNS: Final = 2
"""Runs of each mission at first."""

TWINS: Final = {5: "twin-1456", 25: "twin-72138"}
"""Events of run 7 whose digests begin with the same 32 bits, by their numbers."""


@dataclass(frozen=True, slots=True)
class Weather:
    """Rates are per second, times in seconds, shares of new events."""

    rate: float = 0.4
    """Single events."""
    bursts: float = 0.01
    """Many events at once, 5 to 60, a seventh of a second apart."""
    past: float = 120.0
    """So long, or half as long, the world has lived when the story begins."""
    late: float = 0.0
    """Share that appears later than it is dated, by less than the lateness window."""
    very_late: float = 0.0
    """Share that appears later than that, by up to four more windows."""
    future: float = 0.0
    """Share that is dated ahead, by up to five lateness windows."""
    broken: float = 0.0
    """Share of rows that are no events, or none that can be converted."""
    deletions: float = 0.0
    """Whole missions vanish; new ones take their place."""
    endings: float = 0.0
    """Runs end."""
    steps: float = 0.0
    """The server's clock is set."""
    strides: tuple[float, ...] = (1.4,)
    """... by up to so many lateness windows either way."""
    arrivals: float = 0.0
    """Events for each request that is answered: load that grows with the reading."""
    edits: float = 0.0
    """Events that were shown get other content."""
    margin: float = 3.0
    """Events are late by the lateness window less so many seconds at most."""
    odd_ids: bool = False
    """Ids that make the same text when they are put together, or nearly the same digest."""


class Sky:
    """Makes the weather of a world, from a seed, up to the time that is asked for."""

    def __init__(
        self, weather: Weather, simulator: Simulator, lateness: float, seed: int, now: Micros
    ) -> None:
        self._weather = weather
        self._world = simulator.world
        self._lateness = lateness
        self._rng = Random(f"{seed}/weather")
        self._ids = Ids(seed, "weather-ids")
        self._numbers = count(1)
        self._clock_offset = 0.0
        self._live: list[SimulatedRun] = []
        self.broken: list[tuple[str, SimulatedEvent]] = []
        """Rows that cannot be converted, each with a word that only it contains."""
        self.edited: set[tuple[str, str]] = set()
        self.is_calm = False
        for _ in range(MISSIONS):
            self._begin_mission(now)
        self._kinds: dict[Callable[[Micros], None], float] = {
            self._one: weather.rate,
            self._many: weather.bursts,
            self._delete: weather.deletions,
            self._end: weather.endings,
            self._step: weather.steps,
            self._edit: weather.edits,
        }
        self._rates = list(accumulate(self._kinds.values()))
        self._total = self._rates[-1]
        self._next = now - round(self._rng.uniform(weather.past / 2, weather.past) * SECOND)
        self._plan()
        self.blow(now)

    @property
    def clock_offset(self) -> float:
        """Seconds by which the server's clock is off."""
        return self._clock_offset

    def blow(self, until: Micros) -> None:
        """Let everything happen that is due."""
        while self._next <= until and not self.is_calm:
            at = self._next
            self._world.advance(at)
            (happen,) = self._rng.choices(list(self._kinds), cum_weights=self._rates)
            happen(at)
            self._plan()
        self._world.advance(until)

    def answered(self, now: Micros) -> None:
        """Let arrive what arrives with each request."""
        expected = self._weather.arrivals
        if expected and not self.is_calm:
            for _ in range(self._rng.randrange(round(2 * expected) + 1)):
                self._one(now)

    def _plan(self) -> None:
        self._next += max(1, round(self._rng.expovariate(self._total) * SECOND))

    def _one(self, at: Micros, age: Micros = 0) -> None:
        """Let an event appear that is dated `age` earlier, or is later than that."""
        weather, rng = self._weather, self._rng
        now = at + round(self._clock_offset * SECOND)
        stamp = now - age
        luck = rng.random()
        room = self._lateness - self._world.behaviour.granularity - weather.margin
        if luck < weather.late:
            stamp = now - round(rng.uniform(0.5, max(1.0, room)) * SECOND)
        elif luck < weather.late + weather.very_late:
            stamp -= round(self._lateness * rng.uniform(1.5, 5.0) * SECOND)
        elif luck < weather.late + weather.very_late + weather.future:
            stamp += round(self._lateness * rng.uniform(0.05, 5.0) * SECOND)
        if weather.broken and rng.random() < weather.broken:
            self._break(rng.choice(self._live), stamp)
        else:
            number = next(self._numbers)
            run, event_id = self._named(number)
            fields = {"type": "message", "summary": f"Event {number}", "payload": {"n": number}}
            event = self._world.log_event(run, event_id, fields, stamp)
            event.visible_at = at  # the past was there before the world began

    def _many(self, at: Micros) -> None:
        for age in range(self._rng.randrange(5, 60), 0, -1):
            self._one(at, SECOND // 7 * age)

    def _named(self, number: int) -> tuple[SimulatedRun, str]:
        """Choose a run, and the id of a new event in it."""
        if not self._weather.odd_ids:
            return self._rng.choice(self._live), self._event_id(number)
        if number in TWINS:
            return self._live[0], TWINS[number]
        if number % 10 == 9:
            return self._live[number // 10 % len(self._live)], f"shared-{number // 20}"
        run = self._live[number % len(self._live)]
        rest = "7" * (len(self._live) - len(run.run_id))
        return run, f"{rest}-{number // len(self._live)}"

    def _event_id(self, number: int) -> str:
        return f"{number:08x}-0000-4000-8000-{self._rng.getrandbits(48):012x}"

    def _delete(self, at: Micros) -> None:
        missions = list(self._world.missions.values())
        mission = self._rng.choice(missions)
        self._world.delete_mission(mission, at)
        self._live = [run for run in self._live if run.mission_id != mission.mission_id]
        self._begin_mission(at)

    def _end(self, at: Micros) -> None:
        run = self._rng.choice(self._live)
        self._world.set_status(run, "succeeded", at)
        self._live.remove(run)
        self._begin_run(self._world.missions[run.mission_id], at)

    def _step(self, _at: Micros) -> None:
        stride = self._rng.choice(self._weather.strides)
        self._clock_offset = self._rng.uniform(-stride, stride) * self._lateness

    def _edit(self, _at: Micros) -> None:
        events = [one for one in self._world.history if one.deleted_at is None]
        if events:
            event = self._rng.choice(events)
            event.body = event.body.replace(b"Event", b"Edited")
            self.edited.add((event.run_id, event.event_id))

    def _begin_mission(self, at: Micros) -> None:
        mission = self._world.create_mission(self._ids.new(), {"name": "A mission"}, at)
        for _ in range(RUNS):
            self._begin_run(mission, at)

    def _begin_run(self, mission: SimulatedMission, at: Micros) -> None:
        odd = "7" * (len(self._live) + 1) if self._weather.odd_ids else None
        run = self._world.start_run(mission, odd or self._ids.new(), {}, at)
        self._world.set_status(run, "running", at)
        self._live.append(run)

    def _break(self, run: SimulatedRun, stamp: Micros) -> None:
        """Show a row that is none, or none that Avro can hold."""
        number = next(self._numbers)
        word = f"broken-{number}-"
        fields = {"type": "message", "summary": word}
        row, placed = self._world.draft_event(run, self._event_id(number), fields, stamp)
        spoil = self._rng.randrange(4)
        shown = dict(row)
        if spoil == 0:
            shown["timestamp"] = "some time ago"
        elif spoil == 1:
            del shown["event_id"]
        elif spoil == 2:
            shown["summary"] = f"{word}\ud800"
        text = json.dumps(shown)
        if spoil == 3:
            text = json.dumps({**shown, "payload": "here"}).replace('"here"', '{"x": NaN}')
        event = self._world.show_event(run, row, placed, text.encode())
        self.broken.append((word, event))


def at_text(at: Micros) -> str:
    """Return a time of day, for traces."""
    return instant(at)[11:23]
