"""A hand from outside: puts events into the world and takes missions out of it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bridge.clock import SECOND, Micros
from bridge.dev.api.answers import encode
from bridge.dev.api.feed import SimulatedEvent
from bridge.dev.api.world import Ids, SimulatedRun, World


class NewEvents(BaseModel):
    """Events to create now, a microsecond apart, one run after the other in turn."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(default=1, ge=1)
    run_id: str | None = Field(default=None, description="an existing run; else new ones are made")
    runs: int = Field(default=1, ge=1, description="so many new runs, in one new mission")
    ago: float = Field(default=0, description="seconds into the past; negative for the future")
    tie: bool = Field(default=False, description="all with the same timestamp")
    type: str = "message"
    fields: dict[str, Any] = Field(
        default_factory=dict, description="fields of the shown event that replace or add to ours"
    )
    payload_text: str | None = Field(
        default=None, description="JSON text of the payload, word for word"
    )
    item_text: str | None = Field(
        default=None, description="JSON text of the whole item, word for word"
    )


class Meddling(BaseModel):
    """An event to change after it was shown."""

    model_config = ConfigDict(extra="forbid")

    event_id: str
    fields: dict[str, Any] = Field(
        description="fields of the shown event that replace or add to its own"
    )


class Doomed(BaseModel):
    """Missions to delete: by id, or so many at random."""

    model_config = ConfigDict(extra="forbid")

    mission_ids: list[str] = Field(default_factory=list)
    count: int = Field(default=0, ge=0)


class Meddler:
    """Carries out such wishes; chance comes from a seeded source of its own."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = Random(f"{seed}/meddler")
        self._ids = Ids(seed, "meddler-ids")

    def insert(self, wish: NewEvents, now: Micros) -> list[SimulatedEvent]:
        """Create events; raises ValueError if the run does not exist."""
        runs = [self._known(wish.run_id)] if wish.run_id else self._new_runs(wish.runs, now)
        last = now - int(wish.ago * SECOND)
        events = []
        for n in range(wish.count):
            at = last if wish.tie else last - (wish.count - 1 - n)
            events.append(self._insert(wish, runs[n % len(runs)], at, n))
        return events

    def change(self, wish: Meddling) -> None:
        """Change what lists show of an event; raises ValueError if there is none of that id."""
        for event in self._world.history:
            if event.event_id == wish.event_id:
                event.body = encode({**json.loads(event.body), **wish.fields})
                return
        raise ValueError(f"no event {wish.event_id}")

    def delete(self, wish: Doomed, now: Micros) -> list[str]:
        """Delete missions with their runs and events; returns their ids."""
        missions = [self._world.missions[i] for i in wish.mission_ids if i in self._world.missions]
        others = [m for m in self._world.missions.values() if m not in missions]
        missions += self._rng.sample(others, min(wish.count, len(others)))
        for mission in missions:
            self._world.delete_mission(mission, now)
        return [mission.mission_id for mission in missions]

    def _insert(self, wish: NewEvents, run: SimulatedRun, at: Micros, n: int) -> SimulatedEvent:
        fields = {
            "type": wish.type,
            "summary": f"Inserted {n + 1} of {wish.count}",
            "payload": {"inserted": n},
        }
        row, placed = self._world.draft_event(run, self._ids.new(), fields, at)
        shown = {**row, **wish.fields}
        if isinstance(wish.fields.get("event_id"), str):
            row["event_id"] = wish.fields["event_id"]
        if wish.item_text is not None:
            body = wish.item_text.encode()
        elif wish.payload_text is not None:
            head, tail = encode({**shown, "payload": "here"}).split(b'"payload":"here"', 1)
            body = b'%b"payload":%b%b' % (head, wish.payload_text.encode(), tail)
        else:
            body = encode(shown)
        return self._world.show_event(run, row, placed, body)

    def _known(self, run_id: str) -> SimulatedRun:
        run = self._world.runs.get(run_id)
        if run is None:
            raise ValueError(f"no run {run_id}")
        return run

    def _new_runs(self, number: int, now: Micros) -> list[SimulatedRun]:
        fields = {"name": "Put in by a test"}
        mission = self._world.create_mission(self._ids.new(), fields, now)
        runs = [self._world.start_run(mission, self._ids.new(), {}, now) for _ in range(number)]
        for run in runs:
            self._world.set_status(run, "running", now)
        return runs
