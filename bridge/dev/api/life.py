"""The world's own life: missions appear, runs start, work through their plans and end.

It plays the executor of every run. A turn of it is one event; turns come as a Poisson process of
the set rate, and all chance comes from one seeded source, so the same seed and the same times make
the same life.
"""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import NamedTuple

from bridge.clock import SECOND, Micros
from bridge.dev.api.answers import Row
from bridge.dev.api.world import TERMINAL, Ids, SimulatedMission, SimulatedRun, World

_ACTIVE = 8
"""So many runs of its own go on at the same time."""
_RUNS_PER_MISSION = 6
_PICKUP = SECOND // 2
_PATIENCE = 600 * SECOND
"""A run started through the API goes on at least so long, unless it is told to end."""

_Story = Generator[None, Micros, None]


class _Theme(NamedTuple):
    name: str
    tool: str
    steps: tuple[str, ...]


_THEMES = (
    _Theme(
        "Confirm tomorrow's appointments",
        "telnyx_voice_call",
        ("load-calendar", "call-patients", "send-reminders", "report"),
    ),
    _Theme(
        "Call back missed leads",
        "telnyx_voice_call",
        ("collect-leads", "rank", "dial", "book-demo", "update-crm"),
    ),
    _Theme(
        "Résumé screening by phone",
        "telnyx_transcribe",
        ("fetch-candidates", "interview", "transcribe", "score"),
    ),
    _Theme(
        "Delivery window survey",
        "telnyx_send_sms",
        ("select-orders", "send-survey", "read-replies"),
    ),
    _Theme(
        "Verify supplier contacts",
        "telnyx_number_lookup",
        ("import-list", "look-up-numbers", "call", "clean-up"),
    ),
)


class _Told(NamedTuple):
    run: SimulatedRun
    story: _Story
    own: bool


class Life:
    """Turns of the world's own life, and the executor that picks up runs."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._rng = Random(f"{seed}/life")
        self._ids = Ids(seed, "life-ids")
        self._stories: dict[str, _Told] = {}
        self._missions: list[tuple[SimulatedMission, _Theme]] = []
        self._founded = 0
        self._schedule = 0

    def past(self, events: int, begin: Micros, end: Micros) -> None:
        """Live through `events` turns spread over [begin, end)."""
        for turn in range(events):
            at = begin + int((end - begin) * (turn + self._rng.random()) / events)
            self.turn(self._world.advance(at))
        self._world.advance(end)

    def wake(self, now: Micros) -> None:
        """Begin, or go on at another rate, from now."""
        self._schedule += 1
        self._plan_turn(now, self._schedule)

    def adopt(self, run: SimulatedRun, now: Micros) -> None:
        """Take a run that was started through the API: it begins by itself, if anything does."""
        behaviour = self._world.behaviour
        if behaviour.autorun or behaviour.rate > 0:
            when = now if behaviour.autorun else now + _PICKUP
            self._world.at(when, lambda at: self._pick_up(run, at))

    def turn(self, at: Micros) -> None:
        """Make exactly one event."""
        world = self._world
        for run_id, told in list(self._stories.items()):
            if told.run.status in TERMINAL or run_id not in world.runs:
                del self._stories[run_id]
        ready = [told for told in self._stories.values() if told.run.status != "paused"]
        if sum(told.own for told in ready) < _ACTIVE:
            ready.append(self._begin_run(at))
        chosen = self._rng.choice(ready)
        try:
            chosen.story.send(at)
        except StopIteration:
            del self._stories[chosen.run.run_id]

    def _plan_turn(self, now: Micros, schedule: int) -> None:
        rate = self._world.behaviour.rate
        if rate <= 0:
            return
        when = now + max(1, int(self._rng.expovariate(rate) * SECOND))

        def happen(at: Micros) -> None:
            if schedule == self._schedule:
                self.turn(at)
                self._plan_turn(at, schedule)

        self._world.at(when, happen)

    def _begin_run(self, at: Micros) -> _Told:
        world, rng = self._world, self._rng
        self._missions = [m for m in self._missions if m[0].mission_id in world.missions]
        if not self._missions or rng.random() < 1 / _RUNS_PER_MISSION:
            self._found_mission(at)
        mission, theme = rng.choice(self._missions[-_RUNS_PER_MISSION:])
        fields = {"input": {"batch": rng.randint(1, 999)}, "metadata": {"origin": "scheduler"}}
        run = world.start_run(mission, self._ids.new(), fields, at)
        steps = [
            {"step_id": name, "description": name.replace("-", " ").capitalize(), "sequence": n}
            for n, name in enumerate(theme.steps, 1)
        ]
        world.add_steps(run, steps, initial=True)
        return self._tell(run, theme.tool)

    def _found_mission(self, at: Micros) -> None:
        theme = self._rng.choice(_THEMES)
        self._founded += 1
        fields = {
            "name": f"{theme.name} #{self._founded}",
            "description": f"Works through its list with {theme.tool}.",
            "instructions": "Be brief and polite; never call twice in an hour.",
            "model": "openai/gpt-4o",
            "execution_mode": self._rng.choice(("external", "managed")),
        }
        mission = self._world.create_mission(self._ids.new(), fields, at)
        self._missions.append((mission, theme))

    def _pick_up(self, run: SimulatedRun, at: Micros) -> None:
        if run.status == "pending" and run.run_id in self._world.runs:
            self._world.set_status(run, "running", at)
            self._tell(run, "telnyx_voice_call", until=at + _PATIENCE)

    def _tell(self, run: SimulatedRun, tool: str, until: Micros | None = None) -> _Told:
        told = _Told(run, self._story(run, tool, until or 0), own=until is None)
        next(told.story)
        self._stories[run.run_id] = told
        return told

    def _story(self, run: SimulatedRun, tool: str, until: Micros) -> _Story:
        """One event each time that a time is sent in."""
        at = yield
        self._world.set_status(run, "running", at)
        self._log(run, at, "status_change", "Run is running", payload={"to": "running"})
        while (step := _next_step(run)) is not None or at < until:
            at = yield
            if step is None:
                yield from self._use_tool(run, tool, at, None)
            else:
                yield from self._work(run, tool, at, step)
        at = yield
        status = self._rng.choices(("succeeded", "failed", "cancelled"), (18, 1, 1))[0]
        fields: Row = {"status": status}
        if status == "succeeded":
            fields["result_summary"] = "All steps are done"
            fields["result_payload"] = {"steps": len(run.steps), "events": len(run.events) + 1}
        elif status == "failed":
            fields["error"] = "A step could not be completed"
        self._world.update_run(run, fields, at)
        self._log(run, at, "status_change", f"Run has {status}", payload={"to": status})

    def _work(self, run: SimulatedRun, tool: str, at: Micros, step: Row) -> _Story:
        """One step of the plan, from its start to its end."""
        step_id = step["step_id"]
        self._world.update_step(step, {"status": "in_progress"}, at)
        self._log(run, at, "step_started", f"Step {step_id} started", step_id)
        for _ in range(self._rng.randint(1, 3)):
            at = yield
            yield from self._use_tool(run, tool, at, step_id)
        if self._rng.random() < 0.5:
            at = yield
            progress = {"done": step["sequence"], "of": len(run.steps)}
            self._log(run, at, "custom", "Progress noted", step_id, payload=progress)
        at = yield
        failed = self._rng.random() < 0.05
        self._world.update_step(step, {"status": "failed" if failed else "completed"}, at)
        kind, word = ("step_failed", "failed") if failed else ("step_completed", "completed")
        self._log(run, at, kind, f"Step {step_id} {word}", step_id)

    def _use_tool(self, run: SimulatedRun, tool: str, at: Micros, step_id: str | None) -> _Story:
        """A tool call and what came of it."""
        number = f"+1555{self._rng.randint(1000000, 9999999)}"
        call = {"tool": tool, "arguments": {"to": number, "timeout_secs": 30}}
        self._log(run, at, "tool_call", f"Calling {tool}", step_id, payload=call)
        at = yield
        luck = self._rng.random()
        if luck < 0.1:
            trouble = {"tool": tool, "code": "90015", "retryable": True}
            self._log(run, at, "error", f"{tool} gave no answer", step_id, payload=trouble)
            return
        result = {"tool": tool, "ok": True, "seconds": round(self._rng.uniform(0.2, 40), 3)}
        self._log(run, at, "tool_result", f"{tool} finished", step_id, payload=result)
        if luck < 0.4:
            at = yield
            self._log(run, at, "message", f"{number}: “Yes, that suits me”", step_id)

    def _log(
        self,
        run: SimulatedRun,
        at: Micros,
        kind: str,
        summary: str,
        step_id: str | None = None,
        *,
        payload: Row | None = None,
    ) -> None:
        fields = {
            "type": kind,
            "summary": summary,
            "step_id": step_id,
            "agent_id": "mission-executor",
            "payload": payload,
        }
        self._world.log_event(run, self._ids.new(), fields, at)


def _next_step(run: SimulatedRun) -> Row | None:
    return next((step for step in run.steps.values() if step["status"] == "pending"), None)
