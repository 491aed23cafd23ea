"""The bridge's own simulated API in the place of the small fake one: it knows all verbs."""

from __future__ import annotations

import httpx
from commands_world import FakeApi

from bridge.clock import Clock
from bridge.dev.answers import Ending
from bridge.dev.operations import find
from bridge.dev.simulator import Simulator

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
