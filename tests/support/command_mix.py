"""All 15 verbs at once, in the shares of an ordinary day, and an API in trouble."""

from collections.abc import Sequence
from random import Random
from typing import Any

from support.commands import Command, order, start
from support.stage import Stage

BLOCK = 200
"""Commands in one repetition of the mix; one of them is a clone, of which nobody can know."""

_MISSIONS, _RUNS, _STARTS, _NEW, _DOOMED = 4, 4, 6, 8, 3

TROUBLE: Sequence[dict[str, Any]] = [
    {"kind": "drop", "probability": 0.04},
    {"kind": "withhold", "probability": 0.01},
    {"kind": "status", "status": 500, "effect": True, "probability": 0.01},
    {"kind": "status", "status": 503, "probability": 0.01},
    {"kind": "slow", "seconds": 0.05},
]
"""5 % of the answers lost after the effect, 2 % 5xx, half of them after the effect; all of them
late, so that a kill finds requests whose answer is on its way."""

BURST = {"kind": "status", "operation": "writes", "status": 429, "retry_after": "1", "times": 20}


def make_trouble(scene: Stage) -> None:
    """Let the API carry out requests without saying so, and the other way round, from now on."""
    scene.control("faults", [{"operation": "writes", **fault} for fault in TROUBLE])


def mixed(scene: Stage, blocks: int) -> list[Command]:
    """Make missions and runs; return commands about them, each lane's in an order that works.

    No two of them have the same effect.
    """
    lanes = [lane for _ in range(blocks) for lane in _block(scene)]
    turns = [number for number, lane in enumerate(lanes) for _ in lane]
    Random(blocks).shuffle(turns)
    steps = [iter(lane) for lane in lanes]
    return [next(steps[number]) for number in turns]


def _block(scene: Stage) -> list[list[Command]]:
    lanes: list[list[Command]] = [[order("create_mission", name="New")] for _ in range(_NEW)]
    for number in range(_MISSIONS):
        runs = scene.insert(_RUNS, runs=_RUNS)
        lanes += [life(**run) for run in runs]
        mission_id = runs[0]["mission_id"]
        about = [start(mission_id) for _ in range(_STARTS)]
        about.append(order("update_mission", mission_id, description="Another one"))
        about += [order("clone_mission", mission_id)] if number == 0 else []
        lanes.append(about)
    doomed = [scene.insert()[0]["mission_id"] for _ in range(_DOOMED)]
    return lanes + [[order("delete_mission", mission_id)] for mission_id in doomed]


def each_verb(scene: Stage) -> list[Command]:
    """Make two missions and a run; return one command of each verb."""
    run, doomed = scene.insert()[0], scene.insert()[0]["mission_id"]
    mission_id = run["mission_id"]
    return [
        *life(**run),
        order("create_mission", name="New"),
        order("update_mission", mission_id, description="Another one"),
        order("clone_mission", mission_id),
        start(mission_id),
        order("delete_mission", doomed),
    ]


def life(mission_id: str, run_id: str, **_: Any) -> list[Command]:
    """Return ten orders about a run."""

    def about(verb: str, **body: Any) -> Command:
        return order(verb, mission_id, run_id, **body)

    return [
        about("create_plan", steps=[_step("call", 1), _step("report", 2)]),
        about("update_step", step_id="call", status="completed"),
        about("add_steps", steps=[_step("tidy", 3)]),
        about("link_agent", telnyx_agent_id="assistant-1"),
        about("log_event", type="custom", summary="Half of it is done"),
        about("pause_run"),
        about("resume_run"),
        about("update_run", result_summary="All of it is done"),
        about("unlink_agent", telnyx_agent_id="assistant-1"),
        about("cancel_run"),
    ]


def _step(step_id: str, sequence: int) -> dict[str, Any]:
    return {"step_id": step_id, "description": step_id, "sequence": sequence}
