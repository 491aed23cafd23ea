"""Commands of all verbs through kills, rebalances and an API that hides what it did.

In `make test` a small one; `make chaos-commands` sets other sizes by COMMANDS, KILLS, REBALANCES
and POLICY, and prints figures.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
from support import command_review, commands
from support.brokers import Broker
from support.command_mix import BLOCK, BURST, make_trouble, mixed
from support.command_review import Day
from support.kafka import read_topic
from support.stage import Bridge, Stage, stage, wait_for

from bridge.clock import Clock
from bridge.config.types import VERBS

COMMANDS = int(os.environ.get("COMMANDS", "1000"))
KILLS = int(os.environ.get("KILLS", "5"))
REBALANCES = int(os.environ.get("REBALANCES", "1"))
POLICIES = [os.environ["POLICY"]] if "POLICY" in os.environ else ["strict", "resolve"]
MEMBERS = 3

MANY = 10_000
"""From so many commands on the share of clones whose answer is lost is no matter of luck."""

SETTINGS = {
    "BRIDGE_API__TIMEOUT": "2",
    "BRIDGE_COMMANDS__ALLOW": ",".join(VERBS),
    "BRIDGE_COMMANDS__CONCURRENCY": "16",
    "BRIDGE_COMMANDS__MAX_STARTS_PER_MINUTE": "100000",
    "BRIDGE_COMMANDS__SETTLE": "3",
}


class Troupe:
    """Bridges that share the partitions, and what happens to them."""

    def __init__(self, scene: Stage, policy: str, chance: Random) -> None:
        self._scene = scene
        self._policy = policy
        self._chance = chance
        self.members = [self._new() for _ in range(MEMBERS)]

    def kill(self) -> None:
        """End one with SIGKILL, wherever it is, and start another."""
        self._replace(Bridge.kill)

    def stop(self) -> None:
        """Let one go, and another join."""
        self._replace(self.end)

    def freeze(self) -> None:
        """Let one go silent until the others have its partitions; then it wakes."""
        frozen = self._chance.choice(self.members).ready()
        others = [member.ready() for member in self.members if member is not frozen]
        frozen.freeze()
        wait_for(lambda: self._partitions(others) == self._partitions(others) | set(range(6)), 120)
        frozen.wake()

    def end(self, member: Bridge) -> None:
        """Let one drain and end, as soon as it listens to signals."""
        assert member.ready().stop() == 0, member.output

    def _replace(self, end: Callable[[Bridge], None]) -> None:
        place = self._chance.randrange(MEMBERS)
        end(self.members[place])
        self.members[place] = self._new()

    def _new(self) -> Bridge:
        settings = SETTINGS | {"BRIDGE_COMMANDS__ON_DOUBT": self._policy}
        return self._scene.run("--only", "commands", **settings)

    @staticmethod
    def _partitions(members: list[Bridge]) -> set[int]:
        return {number for member in members for number in commands.partitions(member)}


def has_done(scene: Stage, effects: int) -> bool:
    return scene.effect_count >= effects


def trouble_them(scene: Stage, troupe: Troupe, effects: int, chance: Random) -> None:
    """Kill, replace and freeze members, spread over so many effects, each with a burst of 429."""
    rebalances = [(troupe.stop, troupe.freeze)[number % 2] for number in range(REBALANCES)]
    events = [*([troupe.kill] * KILLS), *rebalances]
    chance.shuffle(events)
    for number, event in enumerate(events):
        wait_for(partial(has_done, scene, effects * (number + 1) // (len(events) + 1)), 600)
        scene.control("faults", BURST)
        event()


def tell_figures(scene: Stage, day: Day, policy: str, seconds: float) -> None:
    results = day.finals.values()
    figures = {
        "policy": policy,
        "commands": len(results),
        "kills": KILLS,
        "rebalances": REBALANCES,
        "seconds": round(seconds),
        "requests": scene.control("ledger?part=summary")["summary"]["requests"],
        "results": day.counts,
        "in_doubt": day.verbs("IN_DOUBT"),
        "told_first": len(day.interim),
        "found": sum(bool(result["resolved_by"]) for result in results),
        "repeated": sum(result["attempts"] > 1 for result in results),
    }
    print(json.dumps(figures))  # noqa: T201 - `make chaos-commands` shows it


# The embedded broker keeps a member for ever that was killed while it joined.
@pytest.mark.parametrize("kafka", ["real"], indirect=True)
@pytest.mark.timeout(300 + COMMANDS * 0.3)
@pytest.mark.parametrize("policy", POLICIES)
def test_each_command_has_one_result_and_one_effect_at_most(
    kafka: Broker, topic_prefix: str, tmp_path: Path, policy: str
) -> None:
    clock, chance = Clock(), Random(COMMANDS)
    with stage(kafka, topic_prefix, tmp_path) as scene:
        orders = mixed(scene, COMMANDS // BLOCK)
        make_trouble(scene)
        commands.produce(scene, orders)
        begun = clock.monotonic()
        troupe = Troupe(scene, policy, chance)
        trouble_them(scene, troupe, len(orders) * 9 // 10, chance)
        members = [member.ready() for member in troupe.members]
        commands.expect_all_done(scene, *members, deadline=600)
        took = clock.monotonic() - begun
        for member in members:
            troupe.end(member)
        day = command_review.review(scene)
        tell_figures(scene, day, policy, took)
        day.assert_sound(policy)
        assert not read_topic(scene.broker, f"{scene.prefix}.commands.dlq")
        assert day.counts.keys() <= {"SUCCEEDED", "IN_DOUBT", "ALREADY_DONE"}, day.counts
        if policy == "resolve" and len(orders) >= MANY:
            assert day.counts["IN_DOUBT"] <= len(orders) // 1000, day.counts
