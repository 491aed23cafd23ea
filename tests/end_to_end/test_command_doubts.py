"""Requests that the API carries out unseen, late or after somebody else's."""

from pathlib import Path
from typing import Any

import pytest
from support import command_review, commands
from support.brokers import Broker
from support.command_mix import each_verb
from support.commands import order
from support.stage import CANARY, Bridge, Stage, stage, wait_for

from bridge.config.types import VERBS

SETTLE = 2.0
SETTINGS = {
    "BRIDGE_API__TIMEOUT": "1",
    "BRIDGE_COMMANDS__ALLOW": ",".join(VERBS),
    "BRIDGE_COMMANDS__SETTLE": f"{SETTLE:g}",
}
LOST_ANSWERS: list[dict[str, Any]] = [
    {"kind": "drop"},
    {"kind": "withhold"},
    {"kind": "cut"},
    {"kind": "body"},
    {"kind": "status", "status": 408, "effect": True},
    {"kind": "status", "status": 500, "effect": True},
]


def working(scene: Stage, policy: str = "strict") -> Bridge:
    settings = SETTINGS | {"BRIDGE_COMMANDS__ON_DOUBT": policy}
    return scene.run("--only", "commands", **settings).ready()


def test_an_answer_lost_after_the_effect_is_found_for_every_verb(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = working(scene)
        for fault in LOST_ANSWERS:
            lost = [{**fault, "operation": verb, "times": 1} for verb in VERBS]
            scene.control("faults", lost)
            commands.produce(scene, each_verb(scene))
            commands.expect_all_done(scene, bridge)
            assert not scene.control("faults")["faults"], "each was to strike once"
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert len(day.effects) == len(day.asked) == len(LOST_ANSWERS) * len(VERBS)
        assert day.verbs("IN_DOUBT") == {"clone_mission": len(LOST_ANSWERS)}
        assert day.counts["SUCCEEDED"] == len(day.asked) - len(LOST_ANSWERS)


@pytest.mark.parametrize(("policy", "runs"), [("strict", 1), ("resolve", 2)])
def test_a_start_that_is_carried_out_when_all_looks_are_over(
    kafka: Broker, topic_prefix: str, tmp_path: Path, policy: str, runs: int
) -> None:
    """Under `strict` it happens once and the result says how to find it; under `resolve` twice,
    which is what that policy costs."""
    late = SETTLE * 4 + 5
    with stage(kafka, topic_prefix, tmp_path) as scene:
        mission_id = scene.insert()[0]["mission_id"]
        fault = {"kind": "late_effect", "operation": "start_run", "seconds": late, "times": 1}
        scene.control("faults", fault)
        bridge = working(scene, policy)
        started = commands.start(mission_id)
        commands.produce(scene, [started])
        commands.expect_all_done(scene, bridge)
        final = commands.results(scene)[-1]
        assert scene.effect_count == runs - 1, "the request came before the result"
        wait_for(lambda: scene.effect_count == runs)
        assert final["final"]
        if policy == "strict":
            assert final["status"] == "IN_DOUBT"
            assert f"metadata.bridge_command_id = {started['command_id']}" in str(final["error"])
        else:
            assert (final["status"], final["attempts"]) == ("SUCCEEDED", 2)
        assert bridge.stop() == 0


@pytest.mark.parametrize(
    ("verb", "theirs", "status"),
    [
        ("pause", "pause", "ALREADY_DONE"),
        ("pause", "cancel", "REJECTED"),
        ("cancel", "cancel", "ALREADY_DONE"),
        ("cancel", "pause", "SUCCEEDED"),
    ],
)
def test_somebody_else_acts_between_our_look_and_our_request(
    kafka: Broker, topic_prefix: str, tmp_path: Path, verb: str, theirs: str, status: str
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        run = scene.insert()[0]
        about = run["mission_id"], run["run_id"]
        scene.control("faults", {"kind": "slow", "operation": "get_run", "seconds": 0.8})
        bridge = working(scene)
        commands.produce(scene, [order(f"{verb}_run", *about)])
        wait_for(lambda: "get_run" in scene.control("ledger?part=requests")["requests"])
        path = f"/v2/ai/missions/{about[0]}/runs/{about[1]}/{theirs}"
        key = {"authorization": f"Bearer {CANARY}"}
        assert scene.api.call(lambda: scene.simulator.handle("POST", path, "", key)).status == 200
        assert scene.effect_count == 1, "our request came first"
        commands.expect_all_done(scene, bridge)
        (result,) = commands.results(scene)
        assert (result["status"], result["final"]) == (status, True)
        assert scene.effect_count == (2 if status == "SUCCEEDED" else 1)
        assert bridge.stop() == 0
