"""More partitions for commands: the procedure of docs/OPERATIONS.md, step by step."""

from pathlib import Path

from support import commands
from support.brokers import Broker
from support.kafka import add_partitions, create_topics, delete_topics, list_topics
from support.stage import Stage, stage, wait_for

from bridge.errors import EXIT_CONFIG

SETTINGS = {"BRIDGE_COMMANDS__MAX_STARTS_PER_MINUTE": "1000"}
GROWN = ("commands", "command-state")
COUNT = 9


def carry_out(scene: Stage, orders: list[commands.Command]) -> None:
    bridge = scene.run("--only", "commands", **SETTINGS).ready()
    commands.produce(scene, orders)
    commands.expect_all_done(scene, bridge)
    assert bridge.stop() == 0


def test_commands_move_to_more_partitions_and_none_runs_twice(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        before, after = commands.working_day(scene, 6), commands.working_day(scene, 6)
        carry_out(scene, before)
        assert len(scene.effects()) == len(before)

        names = [f"{scene.prefix}.{name}" for name in GROWN]
        for name in names:
            delete_topics(scene.broker, name)
        wait_for(lambda: not {*names} & list_topics(scene.broker).keys())
        create_topics(scene.broker, {names[0]: COUNT})
        scene.command("topics", "apply")
        assert [list_topics(scene.broker)[name] for name in names] == [COUNT, COUNT]

        carry_out(scene, after)
        told = [result["command_id"] for result in commands.results(scene) if result["final"]]
        assert sorted(told) == sorted(order["command_id"] for order in [*before, *after])
        assert len(scene.effects()) == len(before) + len(after)


def test_a_count_that_was_only_raised_is_refused(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        carry_out(scene, commands.working_day(scene, 1))
        names = [f"{scene.prefix}.{name}" for name in GROWN]
        add_partitions(scene.broker, dict.fromkeys(names, COUNT))
        bridge = scene.run("--only", "commands")
        assert bridge.wait() == EXIT_CONFIG
        assert "keys moved" in bridge.output
