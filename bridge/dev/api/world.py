"""The simulated organization: missions, runs, plans, agents and events, and the rules they obey.

Time enters as an argument and ids are handed in, so that the same calls always make the same world.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from random import Random
from uuid import UUID

from bridge.clock import SECOND, Micros
from bridge.dev.api.answers import ApiProblem, Refused, Row, encode, instant, not_found
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.feed import Feed, SimulatedEvent

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_STEERING = {
    "pause": ("paused", frozenset({"running"})),
    "resume": ("running", frozenset({"paused"})),
    "cancel": ("cancelled", frozenset({"pending", "running", "paused"})),
}
_FINAL_STEPS = frozenset({"completed", "skipped", "failed"})


class Ids:
    """Version 4 UUIDs from a seed; each stream is independent of the others."""

    def __init__(self, seed: int, stream: str) -> None:
        self._rng = Random(f"{seed}/{stream}")

    def new(self) -> str:
        """The next id."""
        return str(UUID(int=self._rng.getrandbits(128), version=4))


@dataclass(slots=True, eq=False)
class SimulatedRun:
    """A run; `row` is what the API shows."""

    row: Row
    steps: dict[str, Row] = field(default_factory=dict)
    agents: dict[str, Row] = field(default_factory=dict)
    events: Feed = field(default_factory=Feed)
    by_id: dict[str, SimulatedEvent] = field(default_factory=dict)
    by_key: dict[str, SimulatedEvent] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.row["run_id"])

    @property
    def mission_id(self) -> str:
        """The id of its mission."""
        return str(self.row["mission_id"])

    @property
    def status(self) -> str:
        """Its status now."""
        return str(self.row["status"])


@dataclass(slots=True, eq=False)
class SimulatedMission:
    """A mission and its runs, oldest first."""

    row: Row
    runs: list[SimulatedRun] = field(default_factory=list)

    @property
    def mission_id(self) -> str:
        """Its id."""
        return str(self.row["mission_id"])


class World:
    """Everything that exists, and everything that is still to happen by itself."""

    def __init__(self, organization_id: str, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.now: Micros = 0
        self.missions: dict[str, SimulatedMission] = {}
        self.runs: dict[str, SimulatedRun] = {}
        self.feed = Feed()
        self.history: list[SimulatedEvent] = []
        """Every event ever created, deleted ones too."""
        self._organization_id = organization_id
        self._due: list[tuple[Micros, int, Callable[[Micros], None]]] = []
        self._numbers = count()

    # Time

    def at(self, when: Micros, happening: Callable[[Micros], None]) -> None:
        """Let something happen once time has come to `when`."""
        heapq.heappush(self._due, (when, next(self._numbers), happening))

    def advance(self, now: Micros) -> Micros:
        """Let everything happen that is due; time never goes back. Returns the world's time."""
        while self._due and self._due[0][0] <= now:
            when, _, happening = heapq.heappop(self._due)
            self.now = max(self.now, when)
            happening(when)
        self.now = max(self.now, now)
        return self.now

    # Missions

    def mission(self, mission_id: str) -> SimulatedMission:
        """The mission, or 404."""
        found = self.missions.get(mission_id)
        if found is None:
            raise not_found(f"Mission {mission_id}")
        return found

    def create_mission(self, mission_id: str, fields: Row, at: Micros) -> SimulatedMission:
        """Add a mission; `fields` are those of the API's request."""
        row: Row = {
            "mission_id": mission_id,
            "name": fields["name"],
            "description": fields.get("description"),
            "model": fields.get("model"),
            "instructions": fields.get("instructions"),
            "execution_mode": fields.get("execution_mode") or "external",
            "metadata": fields.get("metadata"),
            "created_at": instant(at),
            "updated_at": instant(at),
        }
        self.missions[mission_id] = mission = SimulatedMission(row)
        return mission

    def update_mission(self, mission: SimulatedMission, fields: Row, at: Micros) -> None:
        """Set the given fields, keep the others."""
        mission.row.update(fields)
        mission.row["updated_at"] = instant(at)

    def delete_mission(self, mission: SimulatedMission, at: Micros) -> None:
        """Remove a mission with its runs and events; what stood behind them in lists moves up."""
        del self.missions[mission.mission_id]
        for run in mission.runs:
            del self.runs[run.run_id]
            for event in run.events.created():
                event.deleted_at = at
        if not self.behaviour.filter_after_limit:
            self.feed.remove(lambda event: event.deleted_at is not None)

    # Runs

    def run(self, mission_id: str, run_id: str) -> SimulatedRun:
        """The run of that mission, or 404."""
        self.mission(mission_id)
        found = self.runs.get(run_id)
        if found is None or found.mission_id != mission_id:
            raise not_found(f"Run {run_id}")
        return found

    def start_run(
        self, mission: SimulatedMission, run_id: str, fields: Row, at: Micros
    ) -> SimulatedRun:
        """Add a run, `pending`; started_at is the time of its creation."""
        row: Row = {
            "run_id": run_id,
            "mission_id": mission.mission_id,
            "organization_id": self._organization_id,
            "status": "pending",
            "input": fields.get("input"),
            "started_at": instant(at),
            "finished_at": None,
            "result_summary": None,
            "result_payload": None,
            "error": None,
            "metadata": fields.get("metadata"),
            "updated_at": instant(at),
        }
        self.runs[run_id] = run = SimulatedRun(row)
        mission.runs.append(run)
        return run

    def update_run(self, run: SimulatedRun, fields: Row, at: Micros) -> None:
        """Set the given fields; updated_at stands still, as the live API's does."""
        status = fields.get("status")
        if status is not None and status != run.status and run.status in TERMINAL:
            raise self._illegal(f"Run {run.run_id} is {run.status} and cannot become {status}")
        run.row.update({name: value for name, value in fields.items() if name != "status"})
        if status is not None:
            self.set_status(run, status, at)

    def steer(self, run: SimulatedRun, verb: str, at: Micros) -> None:
        """`pause`, `resume` or `cancel`, where the status allows it."""
        target, allowed = _STEERING[verb]
        if run.status not in allowed:
            raise self._illegal(f"Cannot {verb} a run that is {run.status}")
        self.set_status(run, target, at)

    def set_status(self, run: SimulatedRun, status: str, at: Micros) -> None:
        """Change a status without asking; a run that ends gets finished_at."""
        run.row["status"] = status
        if status in TERMINAL and run.row["finished_at"] is None:
            run.row["finished_at"] = instant(at)

    # Plans and agents

    def add_steps(self, run: SimulatedRun, steps: list[Row], *, initial: bool) -> list[Row]:
        """Create the plan or add to it; all steps or none."""
        ids = [step["step_id"] for step in steps]
        if initial and run.steps:
            raise self._illegal(f"Run {run.run_id} has a plan already")
        twice = sorted({i for i in ids if i in run.steps or ids.count(i) > 1})
        if twice:
            raise self._illegal(f"Step ids must be unique: {', '.join(twice)}")
        added: list[Row] = [
            {
                "step_id": step["step_id"],
                "run_id": run.run_id,
                "parent_step_id": step.get("parent_step_id"),
                "sequence": step["sequence"],
                "description": step["description"],
                "status": "pending",
                "started_at": None,
                "completed_at": None,
                "metadata": step.get("metadata"),
            }
            for step in steps
        ]
        run.steps.update((row["step_id"], row) for row in added)
        return added

    def step(self, run: SimulatedRun, step_id: str) -> Row:
        """The plan step, or 404."""
        found = run.steps.get(step_id)
        if found is None:
            raise not_found(f"Step {step_id}")
        return found

    def update_step(self, step: Row, fields: Row, at: Micros) -> None:
        """Set status or metadata; the server keeps the times."""
        step.update(fields)
        status = fields.get("status")
        if status is not None and status != "pending" and step["started_at"] is None:
            step["started_at"] = instant(at)
        if status in _FINAL_STEPS:
            step["completed_at"] = instant(at)

    def link_agent(self, run: SimulatedRun, agent_id: str, at: Micros) -> Row:
        """Link an agent; linking it again shows the first link."""
        row: Row = {
            "run_id": run.run_id,
            "telnyx_agent_id": agent_id,
            "created_at": instant(at),
        }
        return run.agents.setdefault(agent_id, row)

    def unlink_agent(self, run: SimulatedRun, agent_id: str) -> None:
        """Remove a link, or 404."""
        if run.agents.pop(agent_id, None) is None:
            raise not_found(f"Agent {agent_id} at run {run.run_id}")

    # Events

    def log_event(
        self, run: SimulatedRun, event_id: str, fields: Row, at: Micros
    ) -> SimulatedEvent:
        """Add an event that happened at `at`."""
        row, placed = self.draft_event(run, event_id, fields, at)
        return self.show_event(run, row, placed, encode(row))

    def draft_event(
        self, run: SimulatedRun, event_id: str, fields: Row, at: Micros
    ) -> tuple[Row, Micros]:
        """An event that is not in the lists yet, and its place in time."""
        placed = self._stamp(event_id, at)
        row: Row = {
            "event_id": event_id,
            "run_id": run.run_id,
            "type": fields["type"],
            "summary": fields["summary"],
            "timestamp": instant(placed),
            "step_id": fields.get("step_id"),
            "agent_id": fields.get("agent_id"),
            "payload": fields.get("payload"),
            "idempotency_key": fields.get("idempotency_key"),
        }
        return row, placed

    def show_event(
        self, run: SimulatedRun, row: Row, placed: Micros, body: bytes
    ) -> SimulatedEvent:
        """Put an event into the lists; `body` is what they show, whatever the row says."""
        event = SimulatedEvent(
            at=placed,
            number=len(self.history),
            event_id=row["event_id"],
            run_id=run.run_id,
            mission_id=run.mission_id,
            type=row["type"],
            step_id=row["step_id"],
            agent_id=row["agent_id"],
            timestamp=row["timestamp"],
            body=body,
            visible_at=self.now,
        )
        self.history.append(event)
        self.feed.add(event)
        run.events.add(event)
        run.by_id[event.event_id] = event
        if row["idempotency_key"] is not None:
            run.by_key.setdefault(row["idempotency_key"], event)
        return event

    def _stamp(self, event_id: str, at: Micros) -> Micros:
        """The timestamp of an event: late with the set probability, on the set grid.

        The event's own id is the source of chance, so the order of other calls has no say in it.
        """
        late = self.behaviour.late_probability
        if late and int(event_id[:8], 16) / 2**32 < late:
            at -= int(int(event_id[-12:], 16) / 2**48 * self.behaviour.late_seconds * SECOND)
        grid = round(self.behaviour.granularity * SECOND)
        return at // grid * grid if grid > 1 else at

    def _illegal(self, detail: str) -> Refused:
        return Refused(self.behaviour.illegal_status, ApiProblem("10015", detail))
