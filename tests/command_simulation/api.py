"""A Missions API in memory that keeps count of what it did, and can be read as it was before.

Requests are carried out at once; when, and what becomes of the answer, is the network's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.clock import Micros
from bridge.dev.api.answers import instant

Row = dict[str, Any]
Answer = tuple[int, Row | None]
"""A status and a body."""

MARK: Final = "bridge_command_id"
VERBS: Final = {
    ("POST", "runs"): "start_run",
    ("POST", "events"): "log_event",
    ("POST", "pause"): "pause_run",
    ("POST", "resume"): "resume_run",
    ("POST", "cancel"): "cancel_run",
    ("POST", "clone"): "clone_mission",
    ("POST", "plan"): "create_plan",
    ("POST", "steps"): "add_steps",
    ("POST", "telnyx-agents"): "link_agent",
}
"""Writes by method and the last word of the path; ids stand for themselves."""

STEERED: Final = {
    "pause_run": (("running",), "paused"),
    "resume_run": (("paused",), "running"),
    "cancel_run": (("running", "paused"), "cancelled"),
}
"""Which states a verb leads from, and to."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A request that was carried out; `mark` tells the command, `changed` whether it mattered.

    Times on the loop's clock: when its first byte left, and when it was carried out.
    """

    verb: str
    mark: str
    sent: float
    at: float
    changed: bool


class Table:
    """Rows by key, each with all it ever was."""

    def __init__(self) -> None:
        self._versions: dict[Any, list[tuple[Micros, Row | None]]] = {}

    def put(self, key: Any, now: Micros, row: Row | None) -> None:
        """Set a row; None removes it."""
        self._versions.setdefault(key, []).append((now, row))

    def get(self, key: Any, seen: Micros | None = None) -> Row | None:
        """Return a row as it is, or as it was at `seen`."""
        return self._of(self._versions.get(key, []), seen)

    def rows(self, seen: Micros | None = None) -> list[Row]:
        """Return all rows, the newest first."""
        found = (self._of(each, seen) for each in reversed(self._versions.values()))
        return [row for row in found if row is not None]

    @staticmethod
    def _of(versions: list[tuple[Micros, Row | None]], seen: Micros | None) -> Row | None:
        for at, row in reversed(versions):
            if seen is None or at <= seen:
                return row
        return None


class Refused(Exception):
    """The request is refused with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class Api:
    """One account's missions, runs, events, plans and agents; `effects` in their order."""

    def __init__(self) -> None:
        self.missions = Table()
        self.runs = Table()
        self.events = Table()
        self.steps = Table()
        self.agents = Table()
        self.effects: list[Effect] = []
        self.knows_keys = True
        """Whether an idempotency_key is known again."""
        self._made = 0

    def add_mission(self, now: Micros, **fields: Any) -> Row:
        """Make a mission, as requests and stories do."""
        mission = {
            "mission_id": self._id(),
            "name": "A mission",
            "execution_mode": "external",
            "created_at": instant(now),
            "updated_at": instant(now),
            **fields,
        }
        self.missions.put(mission["mission_id"], now, mission)
        return mission

    def add_run(self, now: Micros, mission_id: str, **fields: Any) -> Row:
        """Make a run, as requests and stories do."""
        run = {
            "run_id": self._id(),
            "mission_id": mission_id,
            "status": "running",
            "started_at": instant(now),
            "updated_at": instant(now),
            **fields,
        }
        self.runs.put(run["run_id"], now, run)
        return run

    def set_run(self, run_id: str, now: Micros, **fields: Any) -> None:
        """Change a run, as somebody else does."""
        run = self.runs.get(run_id)
        if run is not None:
            self.runs.put(run_id, now, {**run, **fields})

    def is_so(self, mark: str, seen: Micros) -> bool:
        """Say whether what a request with this mark asks for was so at a time, if it is a state."""
        verb, *path = mark.split("/")
        match verb:
            case "pause_run" | "resume_run" | "cancel_run":
                run = self.runs.get(path[2], seen)
                return run is not None and run["status"] == STEERED[verb][1]
            case "link_agent":
                return self.agents.get((path[0], path[1]), seen) is not None
            case "unlink_agent":
                return self.agents.get((path[2], path[4]), seen) is None
            case "delete_mission":
                return self.missions.get(path[0], seen) is None
        return False

    def read(self, path: list[str], query: Mapping[str, str], seen: Micros | None) -> Answer:
        """Answer a GET; `path` is what follows /ai/missions, `seen` the time it is a picture of."""
        try:
            return 200, self._read(path, query, seen)
        except Refused as refusal:
            return refusal.status, None

    def write(
        self, method: str, path: list[str], body: Row, now: Micros, *, sent: float, at: float
    ) -> Answer:
        """Carry out any other request; note its effect if it is not refused."""
        verb = verb_of(method, path)
        try:
            made, changed = self._write(verb, path, body, now)
        except Refused as refusal:
            return refusal.status, None
        self.effects.append(Effect(verb, mark_of(verb, path, body), sent, at, changed))
        return 200, {"data": made}

    def _read(  # noqa: C901, PLR0911 - a case for each list and object
        self, path: list[str], query: Mapping[str, str], seen: Micros | None
    ) -> Row:
        if path and path[0] != "events":
            self._mission(path[0], seen)
        match path:
            case []:
                return _page(self.missions.rows(seen), query)
            case ["events"]:
                return _page(self.events.rows(seen), query)
            case [mission_id]:
                return {"data": self._mission(mission_id, seen)}
            case [mission_id, "runs"]:
                rows = self.runs.rows(seen)
                return _page([row for row in rows if row["mission_id"] == mission_id], query)
            case [_, "runs", run_id]:
                return {"data": self._run(run_id, seen)}
            case [_, "runs", run_id, "events"]:
                return _page(_of(self.events, run_id, seen), query)
            case [_, "runs", run_id, "plan"]:
                return {"data": _of(self.steps, run_id, seen)}
            case [_, "runs", run_id, "plan", "steps", step_id]:
                return {"data": _there(self.steps.get((run_id, step_id), seen))}
            case [_, "runs", run_id, "telnyx-agents"]:
                return {"data": _of(self.agents, run_id, seen)}
        raise Refused(404)

    def _write(  # noqa: PLR0911 - a case for each kind of verb
        self, verb: str, path: list[str], body: Row, now: Micros
    ) -> tuple[Any, bool]:
        """Return what the answer shows, and whether anything is other than before."""
        if verb == "create_mission":
            return self.add_mission(now, **body), True
        mission = self._mission(path[0])
        if verb in {"update_mission", "delete_mission", "clone_mission", "start_run"}:
            return self._write_mission(verb, mission, body, now)
        run = self._run(path[2])
        if verb in STEERED:
            origins, wanted = STEERED[verb]
            if run["status"] not in origins:
                raise Refused(400)
            return self._set(self.runs, run["run_id"], {**run, "status": wanted}, now)
        if verb == "update_run":
            return self._set(self.runs, run["run_id"], {**run, **body}, now)
        if verb == "log_event":
            return self._log(run["run_id"], body, now)
        if verb in {"create_plan", "add_steps", "update_step"}:
            return self._plan(verb, run["run_id"], path, body, now)
        return self._link(verb, run["run_id"], path, body, now)

    def _write_mission(
        self, verb: str, mission: Row, body: Row, now: Micros
    ) -> tuple[Row | None, bool]:
        mission_id = mission["mission_id"]
        match verb:
            case "update_mission":
                return self._set(self.missions, mission_id, {**mission, **body}, now)
            case "delete_mission":
                self.missions.put(mission_id, now, None)
                return None, True
            case "clone_mission":
                return self.add_mission(now, name=mission["name"]), True
        return self.add_run(now, mission_id, **body), True

    def _log(self, run_id: str, body: Row, now: Micros) -> tuple[Row, bool]:
        key = body.get("idempotency_key")
        for row in _of(self.events, run_id, None) if self.knows_keys else ():
            if row["idempotency_key"] == key:
                return row, False
        event = {"event_id": self._id(), "run_id": run_id, "timestamp": instant(now), **body}
        self.events.put((run_id, event["event_id"]), now, event)
        return event, True

    def _plan(
        self, verb: str, run_id: str, path: list[str], body: Row, now: Micros
    ) -> tuple[Any, bool]:
        there = {row["step_id"] for row in _of(self.steps, run_id, None)}
        if verb == "update_step":
            step = _there(self.steps.get((run_id, path[5])))
            return self._set(self.steps, (run_id, path[5]), {**step, **body}, now)
        new = {step["step_id"] for step in body["steps"]}
        if new & there or (verb == "create_plan" and there) or (verb == "add_steps" and not there):
            raise Refused(400)
        for step in body["steps"]:
            row = {"run_id": run_id, "status": "pending", **step}
            self.steps.put((run_id, step["step_id"]), now, row)
        return _of(self.steps, run_id, None), True

    def _link(
        self, verb: str, run_id: str, path: list[str], body: Row, now: Micros
    ) -> tuple[Row | None, bool]:
        if verb == "unlink_agent":
            _there(self.agents.get((run_id, path[4])))
            self.agents.put((run_id, path[4]), now, None)
            return None, True
        agent = body["telnyx_agent_id"]
        if self.agents.get((run_id, agent)) is not None:
            raise Refused(409)
        row = {"run_id": run_id, "telnyx_agent_id": agent, "created_at": instant(now)}
        self.agents.put((run_id, agent), now, row)
        return row, True

    def _set(self, table: Table, key: Any, row: Row, now: Micros) -> tuple[Row, bool]:
        changed = table.get(key) != row
        if changed:
            table.put(key, now, row)
        return row, changed

    def _mission(self, mission_id: str, seen: Micros | None = None) -> Row:
        return _there(self.missions.get(mission_id, seen))

    def _run(self, run_id: str, seen: Micros | None = None) -> Row:
        return _there(self.runs.get(run_id, seen))

    def _id(self) -> str:
        self._made += 1
        return f"00000000-0000-4000-8000-{self._made:012d}"


def verb_of(method: str, path: list[str]) -> str:  # noqa: PLR0911 - a case for each verb
    """Return the verb of a request that is no GET."""
    named = VERBS.get((method, path[-1])) if path else None
    if named is not None:
        return named
    match method, path:
        case "POST", []:
            return "create_mission"
        case "PUT", [_]:
            return "update_mission"
        case "DELETE", [_]:
            return "delete_mission"
        case "DELETE", _:
            return "unlink_agent"
        case "PATCH", [*_, "steps", _]:
            return "update_step"
    return "update_run"


def mark_of(  # noqa: PLR0911 - a case for each verb
    verb: str, path: list[str], body: Mapping[str, Any]
) -> str:
    """Return what tells the command of a request from all others of its story."""
    match verb:
        case "create_mission":
            return f"{body['metadata'][MARK]}/{body['description']}"
        case "start_run":
            return f"{body['metadata'][MARK]}/{body['input']['what']}"
        case "log_event":
            return f"{body['idempotency_key']}/{body['summary']}"
        case "update_run":
            return str(body["result_summary"])
        case "update_mission":
            return str(body["description"])
        case "update_step":
            return str(body["metadata"]["by"])
        case "create_plan" | "add_steps":
            return str(body["steps"][0]["description"])
        case "link_agent":
            return f"{verb}/{path[2]}/{body['telnyx_agent_id']}"
    return "/".join((verb, *path))


def _there(row: Row | None) -> Row:
    if row is None:
        raise Refused(404)
    return row


def _of(table: Table, run_id: str, seen: Micros | None) -> list[Row]:
    return [row for row in table.rows(seen) if row["run_id"] == run_id]


def _page(rows: list[Row], query: Mapping[str, str]) -> Row:
    number, size = int(query.get("page[number]", 1)), int(query.get("page[size]", 50))
    meta = {
        "page_number": number,
        "page_size": size,
        "total_pages": -(-len(rows) // size),
        "total_results": len(rows),
    }
    return {"data": rows[(number - 1) * size : number * size], "meta": meta}
