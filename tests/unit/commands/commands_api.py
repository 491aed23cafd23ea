"""The bridge's own simulated API in the place of the small fake one: it knows all verbs."""

from __future__ import annotations

from typing import Any

import httpx
from commands_bench import Bench, Make, command
from commands_world import FakeApi

from bridge.clock import Clock
from bridge.config.types import VERBS
from bridge.dev.api.answers import Ending
from bridge.dev.api.operations import find
from bridge.dev.api.simulator import Simulator

PLAN = [
    {"step_id": f"s{number}", "description": "call", "sequence": number, "parent_step_id": None}
    for number in (1, 2)
]
"""Steps that the run has, so that one can be updated; as the API wants them."""


class WholeApi(FakeApi):
    """One mission with one running run that has a plan and a linked agent."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.simulator = Simulator(clock=clock)
        world, now = self.simulator.world, clock.now()
        mission = world.create_mission(self.mission, {"name": "calls"}, now)
        run = world.start_run(mission, self.run, {}, now)
        world.set_status(run, "running", now)
        world.add_steps(run, [dict(step) for step in PLAN], initial=True)
        world.link_agent(run, "assistant-1", now)
        planless = world.start_run(mission, self.planless, {}, now)
        world.set_status(planless, "paused", now)

    mission = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    run = "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11"
    planless = "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a12"
    """A paused run without a plan."""

    def carry_out(self, operation: str, request: httpx.Request) -> httpx.Response:
        """Let the simulator do what is asked."""
        reply = self.simulator.handle(
            request.method,
            request.url.raw_path.decode().partition("?")[0],
            request.url.query.decode(),
            {name.lower(): value for name, value in request.headers.items()},
            request.content,
        )
        assert reply.ending is Ending.SENT
        return httpx.Response(reply.status, headers=reply.headers, content=reply.body)

    def done(self, operation: str) -> int:
        """Return how often an operation had its effect."""
        return sum(
            effect["operation"] == operation for effect in self.simulator.ledger()["effects"]
        )

    @staticmethod
    def _operation(request: httpx.Request) -> str:
        name, _, _ = find(request.method, request.url.path.split("/")[1:])
        return "probe" if name == "list_events" else name or "unknown"


NEW = {"step_id": "s3", "description": "wait", "sequence": 3}
ORDERS: dict[str, dict[str, Any]] = {
    "create_mission": {"name": "m", "metadata": '{"a": 1.50}'},
    "update_mission": {"name": "other", "metadata": '{"a": 1.50}'},
    "delete_mission": {},
    "clone_mission": {},
    "start_run": {"input": '{"n": 1}'},
    "update_run": {"status": "failed", "result_payload": '{"x": 1}'},
    "cancel_run": {},
    "pause_run": {},
    "resume_run": {},
    "log_event": {"type": "custom", "summary": "s"},
    "create_plan": {"steps": [NEW | {"parent_step_id": None, "metadata": '{"a": 1}'}]},
    "add_steps": {"steps": [NEW | {"parent_step_id": None, "metadata": None}]},
    "update_step": {"step_id": "s1", "status": "completed"},
    "link_agent": {"telnyx_agent_id": "assistant-2"},
    "unlink_agent": {"telnyx_agent_id": "assistant-1"},
}
SURE = {"create_mission", "start_run", "log_event", "pause_run", "resume_run"}
"""Verbs that are not repeated under `strict`."""

PROVEN = {"create_mission", "start_run", "log_event"}
"""Verbs whose effect bears the command's mark, and is believed as soon as it is seen."""


def order(verb: str, command_id: str = "c1", **fields: Any) -> dict[str, Any]:
    """Return a command that the world of WholeApi can carry out."""
    on_planless = verb in ("create_plan", "resume_run")
    run = {"run_id": WholeApi.planless} if on_planless else {}
    return command(verb, command_id, **({"body": ORDERS[verb]} | run | fields))


def lose(bench: Bench, verb: str, *, effect: bool, times: int = 1) -> None:
    """Leave the first requests of a verb without an answer, with their effect or without."""
    lost: list[str] = []

    def script(operation: str, request: httpx.Request) -> Exception | None:
        if operation != verb or len(lost) >= times:
            return None
        lost.append(operation)
        if effect:
            bench.api.carry_out(operation, request)
        return httpx.ReadError("reset")

    bench.api.script = script


async def on_whole(make: Make, **options: Any) -> tuple[Bench, WholeApi]:
    bench = await make(api=WholeApi, allow=frozenset(VERBS), **options)
    assert isinstance(bench.api, WholeApi)
    bench.begin()
    return bench, bench.api
