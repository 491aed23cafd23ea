"""The 26 operations of the Missions API, answered from the simulated world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from bridge.clock import Micros
from bridge.dev.api import bodies
from bridge.dev.api.answers import Row, SimulatedPage, SimulatedReply, encode, not_found, wrapped
from bridge.dev.api.feed import Feed, FeedView, SimulatedEvent
from bridge.dev.api.life import Life
from bridge.dev.api.record_of_truth import RecordOfTruth
from bridge.dev.api.world import Ids, SimulatedRun, World

_RUN = "/{mission_id}/runs/{run_id}"
OPERATIONS: Mapping[str, tuple[str, str]] = {
    "list_missions": ("GET", ""),
    "create_mission": ("POST", ""),
    "list_events": ("GET", "/events"),
    "list_recent_runs": ("GET", "/runs"),
    "get_mission": ("GET", "/{mission_id}"),
    "update_mission": ("PUT", "/{mission_id}"),
    "delete_mission": ("DELETE", "/{mission_id}"),
    "clone_mission": ("POST", "/{mission_id}/clone"),
    "list_runs": ("GET", "/{mission_id}/runs"),
    "start_run": ("POST", "/{mission_id}/runs"),
    "get_run": ("GET", _RUN),
    "update_run": ("PATCH", _RUN),
    "cancel_run": ("POST", f"{_RUN}/cancel"),
    "pause_run": ("POST", f"{_RUN}/pause"),
    "resume_run": ("POST", f"{_RUN}/resume"),
    "list_run_events": ("GET", f"{_RUN}/events"),
    "log_event": ("POST", f"{_RUN}/events"),
    "get_event": ("GET", f"{_RUN}/events/{{event_id}}"),
    "get_plan": ("GET", f"{_RUN}/plan"),
    "create_plan": ("POST", f"{_RUN}/plan"),
    "add_steps": ("POST", f"{_RUN}/plan/steps"),
    "get_step": ("GET", f"{_RUN}/plan/steps/{{step_id}}"),
    "update_step": ("PATCH", f"{_RUN}/plan/steps/{{step_id}}"),
    "list_agents": ("GET", f"{_RUN}/telnyx-agents"),
    "link_agent": ("POST", f"{_RUN}/telnyx-agents"),
    "unlink_agent": ("DELETE", f"{_RUN}/telnyx-agents/{{telnyx_agent_id}}"),
}
"""Method and path below /v2/ai/missions; of two that fit, the first one counts."""

_ROUTES = [
    (name, method, f"v2/ai/missions{template}".split("/"))
    for name, (method, template) in OPERATIONS.items()
]
_FREE_FORM = frozenset({"event_id", "step_id", "telnyx_agent_id"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one operation."""

    operation: str
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: Micros
    seen_until: Micros | None = None
    """Event lists show only what was visible then."""


def find(method: str, segments: Sequence[str]) -> tuple[str | None, dict[str, str], bool]:
    """The operation for the segments of a path, its ids, and whether the path exists."""
    known = False
    for name, verb, template in _ROUTES:
        if len(template) != len(segments):
            continue
        pairs = list(zip(template, segments, strict=True))
        if all(want == got or (want.startswith("{") and got) for want, got in pairs):
            known = True
            if verb == method:
                ids = {want[1:-1]: got for want, got in pairs if want.startswith("{")}
                return name, ids, True
    return None, {}, known


class Operations:
    """Each public method but `answer` is the operation of its name."""

    def __init__(self, world: World, life: Life, ledger: RecordOfTruth, seed: int) -> None:
        self._world = world
        self._life = life
        self._ledger = ledger
        self._ids = Ids(seed, "api-ids")
        self._ties = Random(f"{seed}/ties")

    def answer(self, call: Call) -> SimulatedReply | SimulatedPage:
        """Carry out a call; raises Refused."""
        for name, value in call.ids.items():
            if name not in _FREE_FORM and call.operation != "clone_mission":
                bodies.check_uuid(name, value)
        operation: Callable[[Call], SimulatedReply | SimulatedPage] = getattr(self, call.operation)
        return operation(call)

    # Missions

    def list_missions(self, call: Call) -> SimulatedPage:
        return self._rows(call, [mission.row for mission in self._world.missions.values()])

    def create_mission(self, call: Call) -> SimulatedReply:
        fields = bodies.read_body(bodies.CreateMissionBody, call.body)
        mission = self._world.create_mission(self._ids.new(), fields, call.now)
        self._did(call, fields, mission_id=mission.mission_id)
        return wrapped(201, mission.row)

    def get_mission(self, call: Call) -> SimulatedReply:
        return wrapped(200, self._world.mission(call.ids["mission_id"]).row)

    def update_mission(self, call: Call) -> SimulatedReply:
        mission = self._world.mission(call.ids["mission_id"])
        fields = bodies.read_body(bodies.UpdateMissionBody, call.body)
        self._world.update_mission(mission, fields, call.now)
        self._did(call, fields)
        return wrapped(200, mission.row)

    def delete_mission(self, call: Call) -> SimulatedReply:
        self._world.delete_mission(self._world.mission(call.ids["mission_id"]), call.now)
        self._did(call, {})
        return SimulatedReply(204)

    def clone_mission(self, call: Call) -> SimulatedReply:
        source = self._world.mission(call.ids["mission_id"]).row
        fields = {**source, "name": f"{source['name']} (copy)"}
        mission = self._world.create_mission(self._ids.new(), fields, call.now)
        self._did(call, {}, clone_id=mission.mission_id)
        return wrapped(201, mission.row)

    # Runs

    def list_recent_runs(self, call: Call) -> SimulatedPage:
        return self._runs(call, list(self._world.runs.values()))

    def list_runs(self, call: Call) -> SimulatedPage:
        return self._runs(call, self._world.mission(call.ids["mission_id"]).runs)

    def start_run(self, call: Call) -> SimulatedReply:
        mission = self._world.mission(call.ids["mission_id"])
        fields = bodies.read_body(bodies.StartRunBody, call.body)
        run = self._world.start_run(mission, self._ids.new(), fields, call.now)
        self._life.adopt(run, call.now)
        self._did(call, fields, run_id=run.run_id)
        return wrapped(201, run.row)

    def get_run(self, call: Call) -> SimulatedReply:
        return wrapped(200, self._run(call).row)

    def update_run(self, call: Call) -> SimulatedReply:
        run = self._run(call)
        fields = bodies.read_body(bodies.UpdateRunBody, call.body)
        self._world.update_run(run, fields, call.now)
        self._did(call, fields, status=run.status)
        return wrapped(200, run.row)

    def cancel_run(self, call: Call) -> SimulatedReply:
        return self._steer(call, "cancel")

    def pause_run(self, call: Call) -> SimulatedReply:
        return self._steer(call, "pause")

    def resume_run(self, call: Call) -> SimulatedReply:
        return self._steer(call, "resume")

    # Events

    def list_events(self, call: Call) -> SimulatedPage:
        newest_only = self._world.behaviour.newest_only
        return self._events(call, self._world.feed, newest_only, ("type",))

    def list_run_events(self, call: Call) -> SimulatedPage:
        return self._events(call, self._run(call).events, None, ("type", "step_id", "agent_id"))

    def log_event(self, call: Call) -> SimulatedReply:
        run = self._run(call)
        fields = bodies.read_body(bodies.LogEventBody, call.body)
        known = run.by_key.get(fields.get("idempotency_key") or "")
        if known is not None and self._world.behaviour.idempotency:
            return SimulatedReply(200, b'{"data":%b}' % known.body)
        event = self._world.log_event(run, self._ids.new(), fields, call.now)
        self._did(call, fields, event_id=event.event_id)
        return SimulatedReply(201, b'{"data":%b}' % event.body)

    def get_event(self, call: Call) -> SimulatedReply:
        event_id = call.ids["event_id"]
        event = self._run(call).by_id.get(event_id)
        if event is None:
            raise not_found(f"Event {event_id}")
        return SimulatedReply(200, b'{"data":%b}' % event.body)

    # Plans

    def get_plan(self, call: Call) -> SimulatedReply:
        return wrapped(200, list(self._run(call).steps.values()))

    def create_plan(self, call: Call) -> SimulatedReply:
        return self._add_steps(call, initial=True)

    def add_steps(self, call: Call) -> SimulatedReply:
        return self._add_steps(call, initial=False)

    def get_step(self, call: Call) -> SimulatedReply:
        return wrapped(200, self._world.step(self._run(call), call.ids["step_id"]))

    def update_step(self, call: Call) -> SimulatedReply:
        step = self._world.step(self._run(call), call.ids["step_id"])
        fields = bodies.read_body(bodies.UpdateStepBody, call.body)
        self._world.update_step(step, fields, call.now)
        self._did(call, fields, status=step["status"])
        return wrapped(200, step)

    # Agents

    def list_agents(self, call: Call) -> SimulatedReply:
        return wrapped(200, list(self._run(call).agents.values()))

    def link_agent(self, call: Call) -> SimulatedReply:
        run = self._run(call)
        agent_id = bodies.read_body(bodies.LinkAgentBody, call.body)["telnyx_agent_id"]
        link = self._world.link_agent(run, agent_id, call.now)
        self._did(call, {}, telnyx_agent_id=agent_id)
        return wrapped(201, link)

    def unlink_agent(self, call: Call) -> SimulatedReply:
        self._world.unlink_agent(self._run(call), call.ids["telnyx_agent_id"])
        self._did(call, {})
        return SimulatedReply(204)

    # What they share

    def _run(self, call: Call) -> SimulatedRun:
        return self._world.run(call.ids["mission_id"], call.ids["run_id"])

    def _steer(self, call: Call, verb: str) -> SimulatedReply:
        run = self._run(call)
        self._world.steer(run, verb, call.now)
        self._did(call, {}, status=run.status)
        return wrapped(200, run.row)

    def _add_steps(self, call: Call, *, initial: bool) -> SimulatedReply:
        run = self._run(call)
        steps = bodies.read_body(bodies.Steps, call.body)["steps"]
        added = self._world.add_steps(run, steps, initial=initial)
        self._did(call, {}, step_ids=[step["step_id"] for step in steps])
        return wrapped(201, added)

    def _page_of(self, call: Call, default_size: int) -> tuple[int, int]:
        number, size = bodies.read_page(call.query, default_size)
        behaviour = self._world.behaviour
        return number, behaviour.page_size or min(size, behaviour.max_page_size)

    def _runs(self, call: Call, runs: Sequence[SimulatedRun]) -> SimulatedPage:
        status = call.query.get("status")
        return self._rows(call, [r.row for r in runs if status in {None, r.status}])

    def _rows(self, call: Call, rows: Sequence[Row]) -> SimulatedPage:
        """A page of rows that stand oldest first; the API shows the newest first."""
        number, size = self._page_of(call, 20)
        end = max(0, len(rows) - (number - 1) * size)
        chosen = rows[max(0, end - size) : end]
        return SimulatedPage(
            [encode(row) for row in reversed(chosen)], _meta(len(rows), number, size)
        )

    def _events(
        self, call: Call, feed: Feed, newest_only: int | None, filters: Sequence[str]
    ) -> SimulatedPage:
        behaviour = self._world.behaviour
        number, size = self._page_of(call, 50)
        wanted = [(name, call.query[name]) for name in filters if name in call.query]
        view = FeedView(
            order=behaviour.order,
            newest_only=newest_only,
            shuffle_ties=self._ties if behaviour.shuffle_ties else None,
            seen_until=call.seen_until,
        )

        def fits(event: SimulatedEvent) -> bool:
            return all(getattr(event, name) == value for name, value in wanted)

        found, total = feed.window((number - 1) * size, size, view, fits if wanted else None)
        events = [event for event in found if event.deleted_at is None]
        return SimulatedPage([event.body for event in events], _meta(total, number, size), events)

    def _did(self, call: Call, fields: Row, **facts: object) -> None:
        """Note the effect, with every mark by which the caller can know it again."""
        marked = fields.get("metadata") or fields.get("payload") or {}
        self._ledger.effect(
            call.operation,
            call.now,
            **{
                **call.ids,
                "command_id": marked.get("bridge_command_id"),
                "idempotency_key": fields.get("idempotency_key"),
                **facts,
            },
        )


def _meta(total: int, number: int, size: int) -> Row:
    return {
        "total_pages": -(-total // size),
        "total_results": total,
        "page_number": number,
        "page_size": size,
    }
