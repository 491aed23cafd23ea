"""The brake from the command line to running bridges, on a Kafka."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from support.brokers import Broker
from support.command_line import invoke
from support.kafka import read_topic
from support.stage import COMMAND, Bridge, Stage, stage, wait_for

ONLY = ("--only", "commands")


def brake(scene: Stage, *arguments: str) -> dict[str, Any]:
    """Run a command of the group; return what it shows."""
    ended = invoke("commands", *arguments, "--json", env=scene.env())
    assert ended.code == 0, ended.err
    (shown,) = ended.lines
    return dict(shown)


def braked(bridge: Bridge) -> list[str]:
    return [one["holds"] for one in bridge.status()["commands"]["brakes"]]


def held(bridge: Bridge) -> int:
    return int(bridge.status()["commands"]["held"]["brake"])


def send_starts(scene: Stage, mission: str, count: int) -> list[str]:
    names = [f"{uuid.uuid4().hex}" for _ in range(count)]
    lines = "\n".join(
        json.dumps({"type": "start_run", "mission_id": mission, "command_id": name})
        for name in names
    )
    assert invoke("send", "--file", "-", env=scene.env(), stdin=lines).code == 0
    return names


@contextmanager
def open_transaction(scene: Stage) -> Iterator[None]:
    """Leave a transaction of somebody else open on the partition that holds the brakes."""
    producer = Producer(
        {"bootstrap.servers": scene.broker, "transactional.id": f"{scene.prefix}.foreign"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    value = read_topic(scene.broker, f"{scene.prefix}.command-state")[0].value
    producer.produce(f"{scene.prefix}.command-state", value, b"claim/0/foreign", partition=0)
    assert producer.flush(30) == 0
    try:
        yield
    finally:
        producer.abort_transaction(30)


def test_the_brake_holds_on_every_bridge_at_once_and_survives_a_restart(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=50) as scene:
        mission = str(scene.events()[0]["mission_id"])
        first, second = scene.run(*ONLY).ready(), scene.run(*ONLY).ready()
        with open_transaction(scene):
            shown = brake(scene, "pause", "--verb", "start_run", "--reason", "a drill")
            (one,) = shown["brakes"]
            assert (one["holds"], one["reason"]) == ("start_run", "a drill")
            assert "@" in one["set_by"]
            wait_for(lambda: braked(first) == braked(second) == ["start_run"])
        names = send_starts(scene, mission, 3)
        wait_for(lambda: held(first) + held(second) >= 1)
        wait_for(lambda: brake(scene, "status")["not_done"] == 3)
        first.kill()
        assert second.stop() == 0
        third = scene.run(*ONLY).ready()
        wait_for(lambda: held(third) == 1)
        assert not scene.effects()
        assert brake(scene, "resume")["brakes"] == shown["brakes"]
        assert brake(scene, "resume", "--verb", "start_run")["brakes"] == []
        wait_for(lambda: len(scene.effects()) == 3)
        assert {effect["command_id"] for effect in scene.effects()} == set(names)
        nothing = {"brakes": [], "unreadable": [], "not_done": 0}
        wait_for(lambda: brake(scene, "status") == nothing)
        assert third.stop() == 0


def test_people_are_told_what_is_held_and_by_whom(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        mission = str(uuid.uuid4())
        said = invoke("commands", "pause", "--mission", mission, env=scene.env())
        assert said.code == 0, said.err
        held, count = said.out.splitlines()
        assert held.startswith(f"held: everything of mission {mission}, since 2")
        assert count == "0 commands are not done"
        lifted = subprocess.run(
            [COMMAND, "commands", "resume", "--mission", mission.upper()],
            env=scene.env(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert lifted.stdout.startswith("nothing is held back\n")


def test_a_brake_on_a_topic_that_is_not_there_is_refused(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        other = scene.env(BRIDGE_KAFKA__TOPIC_PREFIX=f"{topic_prefix}-x")
        other["BRIDGE_REGISTRY__REGISTER"] = "true"
        assert invoke("schemas", "register", env=other).code == 0
        ended = invoke("commands", "pause", env=other)
        assert ended.code == 78
        assert f"there is no topic {topic_prefix}-x.command-state" in ended.err


def test_rubbish_in_the_ledger_is_told_and_mended_while_other_partitions_go_on(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        mission = scene.insert()[0]["mission_id"]
        bridge = scene.run(*ONLY).ready()
        (done,) = send_starts(scene, mission, 1)
        wait_for(lambda: scene.effect_count == 1)
        assert bridge.stop() == 0
        state = f"{scene.prefix}.command-state"
        (at,) = {r.partition for r in read_topic(scene.broker, state) if r.key == done.encode()}
        producer = Producer({"bootstrap.servers": scene.broker})
        producer.produce(state, b"rubbish", done.encode(), partition=at)
        producer.produce(state, b"rubbish", b"brake/\xff", partition=0)
        assert producer.flush(30) == 0

        bridge = scene.run(*ONLY)
        wait_for(lambda: "repair --ledger" in bridge.output)
        assert brake(scene, "status")["unreadable"] == ["brake/\udcff"]
        shown = brake(scene, "resume")
        assert (shown["brakes"], shown["unreadable"]) == ([], [])
        mended = invoke("repair", "--ledger", "--json", env=scene.env())
        assert (mended.code, mended.lines[0]["put_back"]) == (
            0,
            [{"partition": at, "key": done, "kind": "done"}],
        )
        bridge.ready()
        send_starts(scene, mission, 1)
        wait_for(lambda: scene.effect_count == 2)
        assert bridge.stop() == 0


def test_a_sender_who_waits_is_told_which_brake_holds_the_command_and_how_to_lift_it(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        mission = str(uuid.uuid4())
        brake(scene, "pause", "--verb", "start_run", "--reason", "a drill")
        brake(scene, "pause", "--verb", "cancel_run")
        sent = ("send", "start_run", "--mission-id", mission, "--wait", "0.5")
        ended = invoke(*sent, env=scene.env())
        assert ended.code == 75
        held, _ = ended.err.splitlines()
        assert held.startswith("no result yet: held: start_run, since 2")
        assert held.endswith(
            ": a drill; `mission-bridge commands resume --verb start_run` lifts it"
        )
