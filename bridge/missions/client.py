"""The 26 operations of the Missions API.

Reading is repeated a few times when no usable answer comes; writing never is: whether to repeat
a write is for its caller to decide, who knows what a second one would do.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
import stamina

from bridge.clock import Clock
from bridge.errors import ApiError, RateLimited
from bridge.missions import answers, ids
from bridge.missions.events import EventReader
from bridge.missions.models import (
    AddSteps,
    Agent,
    Answer,
    CreateMission,
    CreatePlan,
    Event,
    LinkAgent,
    LogEvent,
    Malformed,
    Mission,
    Page,
    PlanStep,
    RequestBody,
    Run,
    StartRun,
    UpdateMission,
    UpdateRun,
    UpdateStep,
)
from bridge.missions.pacing import RateBudget
from bridge.missions.wire import RawAnswer, Wire

T = TypeVar("T")
Params = Mapping[str, str | int]

LARGEST_PAGE = 1_000
"""The most elements that the API puts on a page."""

_LONG_BODY = 2**20
"""A body of more bytes is read beside the event loop, which goes on meanwhile."""

_LONGEST_PATIENCE = 5.0
"""Seconds of a 429 that a read sits out itself; a longer wait is its caller's to plan."""


class MissionsClient:
    """A typed client. `key` is called for each request, so a new key takes effect at once.

    All operations raise, beside what they name: ApiError (no usable answer), RateLimited,
    AccessError (the key is refused), ApiRejected (this request is refused) and InvalidId (nothing
    was sent). `timeout` bounds a whole call, in seconds, the wait for the budget left out.
    """

    def __init__(
        self,
        *,
        base_url: str,
        key: Callable[[], str],
        budget: RateBudget,
        clock: Clock,
        timeout: float = 30.0,
        proxy: str | None = None,
        ca_file: Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._wire = Wire(
            base_url=base_url,
            key=key,
            budget=budget,
            clock=clock,
            timeout=timeout,
            proxy=proxy,
            ca_file=ca_file,
            transport=transport,
        )
        self._repeat = stamina.AsyncRetryingCaller(
            attempts=3, timeout=timeout, wait_initial=0.25, wait_max=2.0, wait_jitter=0.25
        ).on(_worth_repeating)
        self._check: Callable[[], None] | None = None
        self._events = EventReader()

    async def __aenter__(self) -> MissionsClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the client is of no use afterwards."""
        await self._wire.aclose()

    def guarded(self, check: Callable[[], None]) -> MissionsClient:
        """Return this client with `check` called right before each request's first byte.

        What `check` raises ends the call, and nothing was sent. Connections are shared.
        """
        guarded = copy.copy(self)
        guarded._check = check  # noqa: SLF001 - of this very class
        return guarded

    def for_another(self) -> MissionsClient:
        """Return this client for another caller: connections and budget are shared, turn by turn.

        However many requests the one has waiting, the other's next is at most one turn away.
        """
        other = copy.copy(self)
        other._wire = self._wire.for_another()  # noqa: SLF001 - of this very class
        return other

    async def probe(self) -> None:
        """Make the cheapest authorised call, once: it raises what any other call would."""
        await self._get("probe", "/events", answers.event_page(1, self._events), _page_params(1, 1))

    # Missions

    async def list_missions(
        self, *, page: int = 1, size: int = LARGEST_PAGE
    ) -> Page[Mission | Malformed]:
        """List the organization's missions."""
        return await self._read(
            "list_missions", "", answers.page(Mission, page), _page_params(page, size)
        )

    async def create_mission(self, body: CreateMission) -> Answer[Mission]:
        """Create a mission; doing it twice makes two."""
        return await self._write("create_mission", "POST", "", answers.one(Mission), body)

    async def get_mission(self, mission_id: str) -> Mission:
        """Get a mission."""
        path = ids.mission_path(mission_id)
        return await self._read("get_mission", path, answers.one(Mission))

    async def update_mission(self, mission_id: str, body: UpdateMission) -> Answer[Mission]:
        """Replace a mission's definition."""
        path = ids.mission_path(mission_id)
        return await self._write("update_mission", "PUT", path, answers.one(Mission), body)

    async def delete_mission(self, mission_id: str) -> Answer[None]:
        """Delete a mission for good."""
        path = ids.mission_path(mission_id)
        return await self._write("delete_mission", "DELETE", path, answers.nothing)

    async def clone_mission(self, mission_id: str) -> Answer[Mission | None]:
        """Clone a mission; None where the answer, whose form is not documented, is no mission."""
        path = ids.mission_path(mission_id, "clone")
        return await self._write("clone_mission", "POST", path, answers.cloned)

    # Runs

    async def list_recent_runs(
        self, *, page: int = 1, size: int = LARGEST_PAGE, status: str | None = None
    ) -> Page[Run | Malformed]:
        """List the recent runs of all missions."""
        return await self._read(
            "list_recent_runs",
            "/runs",
            answers.page(Run, page),
            _page_params(page, size, status=status),
        )

    async def list_runs(
        self,
        mission_id: str,
        *,
        page: int = 1,
        size: int = LARGEST_PAGE,
        status: str | None = None,
    ) -> Page[Run | Malformed]:
        """List the runs of a mission."""
        path = ids.mission_path(mission_id, "runs")
        params = _page_params(page, size, status=status)
        return await self._read("list_runs", path, answers.page(Run, page), params)

    async def start_run(self, mission_id: str, body: StartRun) -> Answer[Run]:
        """Start a run; doing it twice starts two."""
        path = ids.mission_path(mission_id, "runs")
        return await self._write("start_run", "POST", path, answers.one(Run), body)

    async def get_run(self, mission_id: str, run_id: str) -> Run:
        """Get a run."""
        return await self._read("get_run", ids.run_path(mission_id, run_id), answers.one(Run))

    async def update_run(self, mission_id: str, run_id: str, body: UpdateRun) -> Answer[Run]:
        """Set fields of a run."""
        path = ids.run_path(mission_id, run_id)
        return await self._write("update_run", "PATCH", path, answers.one(Run), body)

    async def cancel_run(self, mission_id: str, run_id: str) -> Answer[Run]:
        """Cancel a running or paused run."""
        path = ids.run_path(mission_id, run_id, "cancel")
        return await self._write("cancel_run", "POST", path, answers.one(Run))

    async def pause_run(self, mission_id: str, run_id: str) -> Answer[Run]:
        """Pause a running run."""
        path = ids.run_path(mission_id, run_id, "pause")
        return await self._write("pause_run", "POST", path, answers.one(Run))

    async def resume_run(self, mission_id: str, run_id: str) -> Answer[Run]:
        """Resume a paused run."""
        path = ids.run_path(mission_id, run_id, "resume")
        return await self._write("resume_run", "POST", path, answers.one(Run))

    # Events

    async def list_events(
        self, *, page: int = 1, size: int = LARGEST_PAGE, type: str | None = None
    ) -> Page[Event | Malformed]:
        """List the recent events of all missions."""
        params = _page_params(page, size, type=type)
        accept = answers.event_page(page, self._events)
        return await self._read("list_events", "/events", accept, params)

    async def list_run_events(
        self,
        mission_id: str,
        run_id: str,
        *,
        page: int = 1,
        size: int = LARGEST_PAGE,
        type: str | None = None,
        step_id: str | None = None,
        agent_id: str | None = None,
    ) -> Page[Event | Malformed]:
        """List the events of a run."""
        path = ids.run_path(mission_id, run_id, "events")
        params = _page_params(page, size, type=type, step_id=step_id, agent_id=agent_id)
        accept = answers.event_page(page, self._events)
        return await self._read("list_run_events", path, accept, params)

    async def log_event(self, mission_id: str, run_id: str, body: LogEvent) -> Answer[Event]:
        """Log an event in a run."""
        path = ids.run_path(mission_id, run_id, "events")
        return await self._write("log_event", "POST", path, answers.one_event, body)

    async def get_event(self, mission_id: str, run_id: str, event_id: str) -> Event:
        """Get an event."""
        path = ids.event_path(mission_id, run_id, event_id)
        return await self._read("get_event", path, answers.one_event)

    # Plans

    async def get_plan(self, mission_id: str, run_id: str) -> tuple[PlanStep | Malformed, ...]:
        """Get all steps of a run's plan."""
        path = ids.run_path(mission_id, run_id, "plan")
        return await self._read("get_plan", path, answers.many(PlanStep))

    async def create_plan(
        self, mission_id: str, run_id: str, body: CreatePlan
    ) -> Answer[tuple[PlanStep | Malformed, ...]]:
        """Create a run's first plan."""
        path = ids.run_path(mission_id, run_id, "plan")
        return await self._write("create_plan", "POST", path, answers.many(PlanStep), body)

    async def add_steps(
        self, mission_id: str, run_id: str, body: AddSteps
    ) -> Answer[tuple[PlanStep | Malformed, ...]]:
        """Add steps to a run's plan."""
        path = ids.run_path(mission_id, run_id, "plan", "steps")
        return await self._write("add_steps", "POST", path, answers.many(PlanStep), body)

    async def get_step(self, mission_id: str, run_id: str, step_id: str) -> PlanStep:
        """Get a step of a run's plan."""
        path = ids.step_path(mission_id, run_id, step_id)
        return await self._read("get_step", path, answers.one(PlanStep))

    async def update_step(
        self, mission_id: str, run_id: str, step_id: str, body: UpdateStep
    ) -> Answer[PlanStep]:
        """Set the status or metadata of a step."""
        path = ids.step_path(mission_id, run_id, step_id)
        return await self._write("update_step", "PATCH", path, answers.one(PlanStep), body)

    # Agents

    async def list_agents(self, mission_id: str, run_id: str) -> tuple[Agent | Malformed, ...]:
        """List the agents linked to a run."""
        path = ids.run_path(mission_id, run_id, "telnyx-agents")
        return await self._read("list_agents", path, answers.many(Agent))

    async def link_agent(self, mission_id: str, run_id: str, body: LinkAgent) -> Answer[Agent]:
        """Link an agent to a run."""
        path = ids.run_path(mission_id, run_id, "telnyx-agents")
        return await self._write("link_agent", "POST", path, answers.one(Agent), body)

    async def unlink_agent(
        self, mission_id: str, run_id: str, telnyx_agent_id: str
    ) -> Answer[None]:
        """Unlink an agent from a run."""
        path = ids.agent_path(mission_id, run_id, telnyx_agent_id)
        return await self._write("unlink_agent", "DELETE", path, answers.nothing)

    async def _read(
        self,
        operation: str,
        path: str,
        accept: Callable[[RawAnswer], T],
        params: Params | None = None,
    ) -> T:
        return await self._repeat(self._get, operation, path, accept, params)

    async def _get(
        self,
        operation: str,
        path: str,
        accept: Callable[[RawAnswer], T],
        params: Params | None = None,
    ) -> T:
        reply = await self._wire.exchange(operation, "GET", path, params=params, check=self._check)
        if len(reply.body) > _LONG_BODY:
            return await asyncio.to_thread(accept, reply)
        return accept(reply)

    async def _write(
        self,
        operation: str,
        method: str,
        path: str,
        accept: Callable[[RawAnswer], T],
        body: RequestBody | None = None,
    ) -> Answer[T]:
        reply = await self._wire.exchange(
            operation,
            method,
            path,
            body=None if body is None else body.text(),
            check=self._check,
        )
        return answers.written(accept)(reply)


def _page_params(page: int, size: int, **filters: str | None) -> Params:
    given = {name: value for name, value in filters.items() if value is not None}
    return {"page[number]": page, "page[size]": size, **given}


def _worth_repeating(error: Exception) -> bool:
    if isinstance(error, RateLimited):
        return error.wait is None or error.wait <= _LONGEST_PATIENCE
    return isinstance(error, ApiError) and not 300 <= (error.status or 0) < 400
