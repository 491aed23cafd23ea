"""A key's commands take effect in the order of the topic, and hold up no other key's."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from support import commands
from support.brokers import Broker
from support.command_mix import life
from support.commands import Command, order
from support.stage import Stage, stage, wait_for

from bridge.kafka.partition import murmur2

PARTITIONS = 6
RUNS = 20
HOG = 10_000


def runs_on_one_partition(scene: Stage, count: int) -> list[dict[str, Any]]:
    """Make runs until so many have keys of the same partition; return these."""
    by_partition: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    while True:
        for run in scene.insert(50, runs=50):
            together = by_partition[murmur2(run["run_id"].encode(), PARTITIONS)]
            together.append(run)
            if len(together) == count:
                return together


def lives(runs: list[dict[str, Any]]) -> list[Command]:
    """Return ten commands for each run, those of one run after those of another."""
    return [command for run in runs for command in life(run["mission_id"], run["run_id"])]


def results_of(scene: Stage, orders: list[Command]) -> list[dict[str, Any]]:
    ids = {command["command_id"] for command in orders}
    return [result for result in commands.results(scene) if result["command_id"] in ids]


def seconds(told: list[dict[str, Any]]) -> float:
    """Return the time from the first of these results' arrivals to the last one's end."""
    begun = min(result["received_at"] for result in told)
    return float((max(result["finished_at"] for result in told) - begun).total_seconds())


def test_ten_thousand_commands_on_one_key_do_not_slow_the_others(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """All keys share a partition; the others' commands stand behind those of the one key."""
    with stage(kafka, topic_prefix, tmp_path) as scene:
        hog, *others = runs_on_one_partition(scene, 1 + 2 * RUNS)
        alone, beside = lives(others[:RUNS]), lives(others[RUNS:])
        bridge = scene.run("--only", "commands").ready()
        commands.produce(scene, alone)
        commands.expect_all_done(scene, bridge)

        about = hog["mission_id"], hog["run_id"]
        heap = [order("log_event", *about, type="custom", summary=str(n)) for n in range(HOG)]
        commands.produce(scene, heap + beside)
        wait_for(lambda: len(results_of(scene, beside)) == len(beside), 120)
        bridge.kill()

        quiet, busy = results_of(scene, alone), results_of(scene, beside)
        assert {result["status"] for result in quiet + busy} == {"SUCCEEDED"}
        slower = seconds(busy) / seconds(quiet)
        done = [effect["command_id"] for effect in scene.effects() if "command_id" in effect]
        ids = [command["command_id"] for command in heap]
        of_heap = [one for one in done if one in set(ids)]
        print(json.dumps({"slower": round(slower, 2), "heap_done": len(of_heap)}))  # noqa: T201
        assert of_heap == ids[: len(of_heap)], "the effects of one key came out of order"
        # Lane beside lane, each of the others' ten takes as long as one of the heap.
        assert len(of_heap) < HOG / 10
        assert slower < 3
