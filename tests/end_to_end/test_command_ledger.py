"""What the bridge remembers of commands, against those who write, delete and recreate around it."""

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from support import command_review, commands
from support.brokers import Broker
from support.commands import order
from support.kafka import create_topics, delete_topics, leave_open, wait_until
from support.stage import Stage, stage, wait_for
from support.within import bridge_within, watch_reading

from bridge.kafka.partition import murmur2

PARTITIONS = 6

pytestmark = pytest.mark.parametrize("kafka", ["real"], indirect=True)
guarded = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


def has_told(scene: Stage, count: int) -> bool:
    return len(commands.results(scene)) == count


@guarded
async def test_a_transaction_left_open_on_the_ledger_lets_no_command_run_twice(
    kafka: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guarded: bool,
) -> None:
    """It hides from a successor what was done since. The guard is the successor's claim, which it
    has to see before it believes that it has read all."""
    with stage(kafka, topic_prefix, tmp_path) as scene:
        mission_id = scene.insert()[0]["mission_id"]
        first, *others, last = [commands.start(mission_id) for _ in range(5)]
        ledger = f"{scene.prefix}.command-state"
        place = ledger, murmur2(mission_id.encode(), PARTITIONS)
        async with bridge_within(scene, "commands"):
            await asyncio.to_thread(commands.produce, scene, [first])
            await asyncio.to_thread(wait_for, partial(has_told, scene, 1))
            stranger = await asyncio.to_thread(leave_open, scene.broker, "stranger", *place)
            await asyncio.to_thread(commands.produce, scene, others)
            await asyncio.to_thread(wait_for, partial(has_told, scene, 4))
        reading = watch_reading(scene, "commands.ledger.reader", monkeypatch, to_its_claim=guarded)
        async with bridge_within(scene, "commands"):
            await wait_until(reading.is_set, 60)
            await asyncio.to_thread(commands.produce, scene, [last])
            if guarded:
                await asyncio.to_thread(stranger.abort_transaction, 30)
            done = 5 if guarded else 8
            await wait_until(lambda: scene.effect_count == done, 60)
        if not guarded:
            await asyncio.to_thread(stranger.abort_transaction, 30)
        runs = Counter(effect["command_id"] for effect in scene.effects())
        twice = {one for one, count in runs.items() if count == 2}
        assert twice == (set() if guarded else {command["command_id"] for command in others})


def test_a_command_on_a_partition_that_is_not_its_keys_is_refused(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """There nobody knows that its id was used: only the route keeps it from running again."""
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = scene.run("--only", "commands").ready()
        (record,) = commands.to_records(scene, [commands.start(scene.insert()[0]["mission_id"])])
        right = murmur2(record.key or b"", PARTITIONS)
        producer = Producer({"bootstrap.servers": scene.broker})
        for number in range(PARTITIONS):
            topic = f"{scene.prefix}.commands"
            producer.produce(topic, record.value, record.key, partition=number)
        assert producer.flush(30) == 0
        commands.expect_all_done(scene, bridge)
        for result in commands.results(scene):
            code = result["error"] and result["error"]["code"]
            if result["source_partition"] == right:
                assert (result["status"], code) == ("SUCCEEDED", None)
            else:
                assert (result["status"], code) == ("REJECTED", "misrouted")
        assert scene.effect_count == 1
        assert bridge.stop() == 0


def test_a_group_whose_offsets_are_lost_reads_on_where_the_ledger_says(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        before, after = commands.working_day(scene, 3), commands.working_day(scene, 2)
        bridge = scene.run("--only", "commands").ready()
        commands.produce(scene, before)
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        admin = AdminClient({"bootstrap.servers": scene.broker})
        group = f"mission-bridge.{scene.prefix}.commands"
        for future in admin.delete_consumer_groups([group]).values():
            future.result(30)
        bridge = scene.run("--only", "commands").ready()
        commands.produce(scene, after)
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert day.counts == {"SUCCEEDED": len(before) + len(after)}


def test_a_topic_that_was_made_anew_is_refused_while_the_ledger_is_of_the_old_one(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        run = scene.insert()[0]
        bridge = scene.run("--only", "commands").ready()
        about = run["mission_id"], run["run_id"]
        steering = ("pause_run", "resume_run", "cancel_run")
        commands.produce(scene, [order(verb, *about) for verb in steering])
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        topic = f"{scene.prefix}.commands"
        delete_topics(scene.broker, topic)
        create_topics(scene.broker, {topic: PARTITIONS, f"{topic}.dlq": 1})
        commands.produce(scene, [order("cancel_run", *about)])
        bridge = scene.run("--only", "commands")
        assert bridge.wait() == 78
        assert "the topic was created anew or lost records" in bridge.output
        assert scene.effect_count == len(steering)
