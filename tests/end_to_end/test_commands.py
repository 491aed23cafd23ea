"""Real processes, real kills: each command has one result, and its effect at most once."""

from functools import partial
from pathlib import Path

from support import command_review, commands
from support.brokers import Broker
from support.stage import Bridge, Stage, stage, wait_for

SETTINGS = {
    "BRIDGE_API__TIMEOUT": "2",
    "BRIDGE_COMMANDS__CONCURRENCY": "8",
    "BRIDGE_COMMANDS__MAX_STARTS_PER_MINUTE": "1000",
    "BRIDGE_COMMANDS__SETTLE": "3",
}


def runs_on(kafka: Broker) -> int:
    """As many runs make four times as many commands."""
    return 125 if kafka.real else 40


def working(scene: Stage) -> Bridge:
    return scene.run("--only", "commands", **SETTINGS).ready()


def has_done(scene: Stage, effects: int) -> bool:
    return scene.effect_count >= effects


def answer_slowly(scene: Stage) -> None:
    """Let every effect be followed by its answer a little later, so that some are on their way."""
    scene.control("faults", {"kind": "slow", "operation": "writes", "seconds": 0.1})


def expect_exact(scene: Stage) -> None:
    """Compare commands, results and effects after kills.

    What was on its way is found, or surely absent: a start, pause or resume that was announced and
    never sent is IN_DOUBT. After such a pause the run needs no resume.
    """
    day = command_review.review(scene)
    day.assert_sound()
    assert day.counts.keys() <= {"SUCCEEDED", "IN_DOUBT", "ALREADY_DONE"}, day.counts
    assert any(result["resolved_by"] for result in day.finals.values())


def test_each_command_has_one_result_through_two_kills(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        answer_slowly(scene)
        orders = commands.working_day(scene, runs_on(kafka))
        commands.produce(scene, orders)
        for quarter in (1, 2):
            bridge = working(scene)
            wait_for(partial(has_done, scene, quarter * len(orders) // 4))
            bridge.kill()
            assert not has_done(scene, len(orders)), "the kill came too late"
        bridge = working(scene)
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        expect_exact(scene)


def test_of_two_bridges_one_goes_on_with_the_partitions_of_the_other(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        answer_slowly(scene)
        orders = commands.working_day(scene, runs_on(kafka))
        first, second = working(scene), working(scene)
        wait_for(lambda: len(commands.partitions(first)) == len(commands.partitions(second)) == 3)
        commands.produce(scene, orders)
        wait_for(lambda: has_done(scene, len(orders) // 4))
        first.kill()
        assert not has_done(scene, len(orders)), "the kill came too late"
        commands.expect_all_done(scene, second)
        assert second.stop() == 0
        expect_exact(scene)


def test_a_stopped_bridge_leaves_nothing_in_doubt(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        answer_slowly(scene)
        orders = commands.working_day(scene, runs_on(kafka))
        bridge = working(scene)
        with commands.sending(scene, orders) as told:
            wait_for(lambda: has_done(scene, len(orders) // 4))
            assert bridge.stop() == 0
            done = scene.effect_count
            assert done < len(orders), "the signal came too late"
            before = [result["status"] for result in commands.results(scene)]
            assert before == ["SUCCEEDED"] * done
            bridge = working(scene)
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert day.counts == {"SUCCEEDED": len(orders)}
        assert {result["command_id"] for result in told} == day.ended("SUCCEEDED")


def test_a_restart_repeats_nothing(kafka: Broker, topic_prefix: str, tmp_path: Path) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        *orders, last = commands.working_day(scene, 3)
        bridge = working(scene)
        commands.produce(scene, orders)
        commands.expect_all_done(scene, bridge)
        bridge.kill()
        bridge = working(scene)
        commands.produce(scene, [last])
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert day.counts == {"SUCCEEDED": len(orders) + 1}
