"""Looking for a command's effect: what the API shows of it now. Only reads.

`look` is asked after a request of which nobody knows whether it was carried out, and after a
refusal that may mean that there was nothing left to do. What it finds is a `Sight`, which
may be old; how often to look, and what follows from it, is decided in `resolution.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from bridge.clock import SECOND, Clock, Micros
from bridge.commands.model import Command, Entry, Verb
from bridge.commands.requests import verbs
from bridge.errors import ApiRejected
from bridge.missions import jsontext
from bridge.missions.client import MissionsClient
from bridge.missions.models import (
    Agent,
    ApiObject,
    Event,
    Malformed,
    Mission,
    Page,
    PlanStep,
    Run,
    RunStatus,
)
from bridge.missions.proof import ABSENT
from bridge.missions.timestamps import moment

WANTED = {
    Verb.PAUSE_RUN: RunStatus.PAUSED,
    Verb.RESUME_RUN: RunStatus.RUNNING,
    Verb.CANCEL_RUN: RunStatus.CANCELLED,
}
"""The status that a verb asks for."""

_SNAPSHOTS = frozenset({*WANTED, Verb.UPDATE_RUN})
_EARLIER: Micros = 2 * 3_600 * SECOND
"""A list in order of time is read so far below the first attempt: more than clocks differ."""

_ABOUT: Micros = 2 * SECOND
"""How well two clocks can be compared by a Date header, which counts whole seconds."""

T = TypeVar("T", bound=ApiObject | Event)


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect is there; `by` says where it was seen, `ids` are those of what was made.

    `twice` names the others if more than one bears the command's mark. `proven`: it bears the mark
    of this command. All else may have been so before, and the request may still be on its way.
    """

    by: str
    response: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    twice: tuple[str, ...] = ()
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Nothing:
    """A whole look, and the effect is not there.

    `certain`: a list showed something newer than the request, so that it is not an old copy.
    """

    state: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Otherwise:
    """Neither as ordered nor as it was: someone else had a hand in it, or it cannot be seen."""

    state: str


Sight = Effect | Nothing | Otherwise


async def snapshot(client: MissionsClient, command: Command) -> str | None:
    """Return what a verb on a run finds before its request; None for other verbs.

    A later look is compared with it. It raises what the client raises.
    """
    if command.type not in _SNAPSHOTS:
        return None
    return _seen(command, await _run(client, command))


async def look(client: MissionsClient, command: Command, entry: Entry, clock: Clock) -> Sight:
    """Look once for the effect of the command in `entry`.

    A refusal to show it is an Otherwise. Raises ApiError and AccessError.
    """
    try:
        return await _look(client, command, entry, clock)
    except ApiRejected as error:
        if command.type == Verb.DELETE_MISSION and error.status in ABSENT:
            return Effect("mission")
        return Otherwise(str(error))


async def _look(  # noqa: PLR0911 - a case for each verb
    client: MissionsClient, command: Command, entry: Entry, clock: Clock
) -> Sight:
    mission, run = command.mission_id or "", command.run_id or ""
    match command.type:
        case Verb.START_RUN:
            return await _started(client, command, entry, clock)
        case Verb.CREATE_MISSION:
            return await _created(client, command, entry, clock)
        case Verb.LOG_EVENT:
            return await _logged(client, command, entry, clock)
        case Verb.UPDATE_RUN | Verb.PAUSE_RUN | Verb.RESUME_RUN | Verb.CANCEL_RUN:
            return _run_sight(command, entry, await _run(client, command))
        case Verb.UPDATE_MISSION:
            return _set_sight(command, "mission", await client.get_mission(mission))
        case Verb.UPDATE_STEP:
            step = await client.get_step(mission, run, command.body["step_id"])
            return _set_sight(command, "step", step)
        case Verb.CREATE_PLAN | Verb.ADD_STEPS:
            return await _planned(client, command)
        case Verb.LINK_AGENT | Verb.UNLINK_AGENT:
            return await _linked(client, command)
        case Verb.DELETE_MISSION:
            await client.get_mission(mission)
            return Nothing("the mission is still there")
    return Otherwise("a clone carries no mark by which it could be known")


async def _run(client: MissionsClient, command: Command) -> Run:
    return await client.get_run(command.mission_id or "", command.run_id or "")


# Objects that are read by their ids


def _run_sight(command: Command, entry: Entry, run: Run) -> Sight:
    verb = Verb(command.type)
    if run.status is None:
        return Otherwise("the API does not say in which status the run is")
    there = run.status == WANTED[verb] if verb in WANTED else _has(command, run)
    state = f"the run is {run.status}"
    if there:
        return Effect("run", _text(run))
    if entry.before in (None, _seen(command, run)):
        return Nothing(state)
    return Otherwise(f"{state}, and not as it was before the request")


def _seen(command: Command, run: Run) -> str | None:
    """Return a short text that differs where the run differs in what the verb is about.

    None where the answer does not say.
    """
    if command.type != Verb.UPDATE_RUN:
        return run.status
    shown = [run.status, run.result_summary, run.result_payload, run.error, run.metadata]
    return hashlib.blake2b(jsontext.dumps(shown).encode(), digest_size=16).hexdigest()


def _set_sight(command: Command, what: str, found: ApiObject) -> Sight:
    if _has(command, found):
        return Effect(what, _text(found))
    return Nothing(f"the {what} does not have the ordered fields")


def _has(command: Command, found: ApiObject) -> bool:
    """Say whether an object has the fields that the command sets.

    Whether the API merges `metadata` or replaces it is not documented: its ordered keys count.
    """
    body = verbs.request(command)
    ordered = {} if body is None else body.model_dump(exclude_none=True)
    metadata: Mapping[str, Any] = ordered.pop("metadata", {})
    shown: Mapping[str, Any] = getattr(found, "metadata", None) or {}
    return all(_same(getattr(found, name, None), value) for name, value in ordered.items()) and all(
        name in shown and _same(shown[name], value) for name, value in metadata.items()
    )


async def _planned(client: MissionsClient, command: Command) -> Sight:
    plan = await client.get_plan(command.mission_id or "", command.run_id or "")
    there = {step.step_id: step for step in plan if isinstance(step, PlanStep)}
    ordered = {step["step_id"]: step for step in command.body["steps"]}
    found = [there[step_id] for step_id in ordered if step_id in there]
    if not found:
        return _unless_unreadable(plan, ordered, Nothing("the plan has none of the steps"))
    if len(found) < len(ordered) or any(
        (step.description, step.sequence)
        != (ordered[step.step_id]["description"], ordered[step.step_id]["sequence"])
        for step in found
    ):
        return Otherwise("the plan has some of the steps, or has them otherwise")
    response = jsontext.dumps({"data": [step.model_dump() for step in found]})
    return Effect("plan", response)


async def _linked(client: MissionsClient, command: Command) -> Sight:
    agents = await client.list_agents(command.mission_id or "", command.run_id or "")
    wanted: str = command.body["telnyx_agent_id"]
    linked = (agent for agent in agents if isinstance(agent, Agent))
    found = next((agent for agent in linked if agent.telnyx_agent_id == wanted), None)
    if found is not None:
        if command.type == Verb.LINK_AGENT:
            return Effect("agents", _text(found))
        return Nothing("the agent is linked")
    if command.type == Verb.LINK_AGENT:
        return _unless_unreadable(agents, [wanted], Nothing("the agent is not linked"))
    return _unless_unreadable(agents, [wanted], Effect("agents"))


def _unless_unreadable(
    rows: Iterable[ApiObject | Malformed], marks: Iterable[str], absent: Sight
) -> Sight:
    """Return what follows from an absence, unless an unreadable row has one of the marks."""
    texts = [jsontext.dumps(row.raw) for row in rows if isinstance(row, Malformed)]
    if any(mark in text for mark in marks for text in texts):
        return Otherwise("what may be the command's effect cannot be read")
    return absent


# Lists that are searched for the command's mark


async def _started(client: MissionsClient, command: Command, entry: Entry, clock: Clock) -> Sight:
    mission = command.mission_id or ""
    search = _Search[Run](entry, lambda run: run.started_at, clock)
    await search.read(lambda page: client.list_runs(mission, page=page))
    return search.sight(
        "runs",
        is_ours=lambda run: _mark(run.metadata) == command.command_id,
        is_like=lambda run: _mark(run.metadata) is None and _same(run.input or {}, _input(command)),
        ids=lambda run: {"run_id": run.run_id},
    )


async def _created(client: MissionsClient, command: Command, entry: Entry, clock: Clock) -> Sight:
    search = _Search[Mission](entry, lambda mission: mission.created_at, clock)
    await search.read(lambda page: client.list_missions(page=page))
    return search.sight(
        "missions",
        is_ours=lambda mission: _mark(mission.metadata) == command.command_id,
        is_like=lambda mission: (
            _mark(mission.metadata) is None and mission.name == command.body["name"]
        ),
        ids=lambda mission: {"mission_id": mission.mission_id},
    )


async def _logged(client: MissionsClient, command: Command, entry: Entry, clock: Clock) -> Sight:
    mission, run = command.mission_id or "", command.run_id or ""
    search = _Search[Event](entry, lambda event: event.timestamp, clock)
    await search.read(lambda page: client.list_run_events(mission, run, page=page))
    return search.sight(
        "events",
        is_ours=lambda event: event.idempotency_key == command.command_id,
        is_like=lambda _: False,
        ids=lambda _: {},
    )


class _Search(Generic[T]):
    """Reads a list as far as the command's effect can stand in it."""

    def __init__(self, entry: Entry, time_of: Callable[[T], str | None], clock: Clock) -> None:
        now = clock.now()
        self._first = now if entry.started_at is None else entry.started_at
        self._last = now if entry.attempted_at is None else entry.attempted_at
        self._mark = entry.command_id
        self._time_of = time_of
        self._clock = clock
        self._ahead: Micros = 0
        self._found: list[T] = []
        self._unreadable: list[Malformed] = []

    async def read(self, page_of: Callable[[int], Awaitable[Page[Any]]]) -> None:
        """Read page after page, to the empty one, or as far back as the list is in order.

        Nothing can be deleted from these lists, so what moves between two pages is seen twice.
        """
        number = 1
        while True:
            page: Page[T | Malformed] = await page_of(number)
            if page.date is not None:
                self._ahead = page.date - self._clock.now()
            rows = [row for row in page.items if not isinstance(row, Malformed)]
            self._found += rows
            self._unreadable += [row for row in page.items if isinstance(row, Malformed)]
            if not page.items or self._is_past(rows):
                return
            number += 1

    def sight(
        self,
        by: str,
        *,
        is_ours: Callable[[T], bool],
        is_like: Callable[[T], bool],
        ids: Callable[[T], Mapping[str, str]],
    ) -> Sight:
        """Say what was found: an element with the mark, or one that only looks like it."""
        ours = {_text(row): row for row in self._found if is_ours(row)}
        if ours:
            if not all(self._is_new(row) for row in ours.values()):
                return Otherwise("one with the command's mark is older than its request")
            first, *more = sorted(ours.values(), key=lambda row: self._at(row) or 0)
            others = {made for row in more for made in ids(row).values()} - {*ids(first).values()}
            return Effect(by, _text(first), ids(first), tuple(sorted(others)), proven=True)
        if any(is_like(row) and self._is_since(row, self._first - _ABOUT) for row in self._found):
            return Otherwise("one without the command's mark is like it and began since")
        certain = any(self._is_since(row, self._last + _ABOUT) for row in self._found)
        absent = Nothing(f"none in the list of {by} has the command's mark", certain)
        return _unless_unreadable(self._unreadable, [self._mark], absent)

    def _is_past(self, rows: list[T]) -> bool:
        """Say whether a page, newest first, reaches below anything that the command made."""
        times = [at for at in map(self._at, rows) if at is not None]
        falls = len(times) > 1 and times[0] > times[-1] and times == sorted(times, reverse=True)
        return falls and times[-1] < self._first + self._ahead - _EARLIER

    def _is_since(self, row: T, time: Micros) -> bool:
        at = self._at(row)
        return at is not None and at > time + self._ahead

    def _is_new(self, row: T) -> bool:
        """Say whether the command can have made it: its time, where it can be read, allows it."""
        return self._at(row) is None or self._is_since(row, self._first - _ABOUT)

    def _at(self, row: T) -> Micros | None:
        return moment(self._time_of(row))


def _mark(metadata: Mapping[str, Any] | None) -> object:
    return (metadata or {}).get(verbs.MARK)


def _input(command: Command) -> object:
    body = verbs.request(command)
    return getattr(body, "input", None) or {}


def _text(found: ApiObject | Event) -> str:
    """Return an object as the body of an answer."""
    if isinstance(found, Event):
        return f'{{"data":{found.text()}}}'
    return jsontext.dumps({"data": found.model_dump()})


def _same(one: object, other: object) -> bool:
    """Compare JSON values; a server may write the same number with other digits."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(_same, one, other))
        case (jsontext.Number(), _) | (_, jsontext.Number()):
            return _float(one) == _float(other)
    return one == other


def _float(value: object) -> object:
    text = value.text if isinstance(value, jsontext.Number) else repr(value)
    try:
        return float(text)
    except ValueError:
        return value
