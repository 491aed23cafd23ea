"""Commands as users give them: made, sent, and what the bridge has told of them."""

import json
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from bridge.clock import Clock
from support.kafka import Sent, read_topic, write_topic
from support.stage import COMMAND, Bridge, Stage, wait_for
from support.verdict import decoder

Command = dict[str, Any]
"""A line of `send --file`: the fields of the Avro record, the body as the verb's plain object.

A `branch` names another record of the body's union than the verb's own."""

STEERING = ("pause_run", "resume_run", "cancel_run")


def order(
    verb: str, mission_id: str | None = None, run_id: str | None = None, **body: Any
) -> Command:
    """Return a command with an id of its own; `body` are the fields of the verb's body."""
    about = {"mission_id": mission_id, "run_id": run_id, "body": body}
    return {"command_id": uuid.uuid4().hex, "type": verb, **about}


def start(mission_id: str) -> Command:
    """Return the order to start a run of a mission."""
    return order("start_run", mission_id, input='{"phone":"+15550100"}')


def working_day(scene: Stage, runs: int) -> list[Command]:
    """Make missions with so many running runs; return four commands for each of the runs.

    One starts another run, the others pause, resume and cancel this one.
    """
    commands = []
    for first in range(0, runs, 10):
        share = min(10, runs - first)
        for run in scene.insert(share, runs=share):
            mission_id = run["mission_id"]
            commands.append(start(mission_id))
            commands += [order(verb, mission_id, run["run_id"]) for verb in STEERING]
    return commands


@contextmanager
def sending(scene: Stage, commands: Sequence[Command]) -> Iterator[list[dict[str, Any]]]:
    """Run `send --file`, and wait at the end of the block; its results are then in the list."""
    file = scene.folder / f"commands-{uuid.uuid4().hex}"
    file.write_text("\n".join(json.dumps(command) for command in commands))
    arguments = [COMMAND, "send", "--file", str(file), "--wait", "120"]
    results: list[dict[str, Any]] = []
    with subprocess.Popen(arguments, env=scene.env(), stdout=subprocess.PIPE, text=True) as sender:
        try:
            yield results
            told, _ = sender.communicate(timeout=150)
        finally:
            sender.kill()
    assert sender.returncode == 0, f"send ended with {sender.returncode}"
    results += [json.loads(line) for line in told.splitlines()]


def to_bytes(scene: Stage, commands: Sequence[Command]) -> list[bytes]:
    """Serialize commands as records of their topic, with a serializer that nobody here wrote."""
    known = {"auto.register.schemas": False, "use.latest.version": True}
    context = SerializationContext(f"{scene.prefix}.commands", MessageField.VALUE)
    now = Clock().now()
    with SchemaRegistryClient({"url": scene.registry_url}) as registry:
        serialize = AvroSerializer(registry, conf=known)
        return [serialize(_record(command, now), context) for command in commands]


def to_records(scene: Stage, commands: Sequence[Command]) -> list[Sent]:
    """Serialize commands, with their keys."""
    values = to_bytes(scene, commands)
    return [Sent(_key(command), value) for command, value in zip(commands, values, strict=True)]


def produce(scene: Stage, commands: Sequence[Command]) -> None:
    """Put commands on their topic with a producer that nobody here wrote."""
    write_topic(scene.broker, f"{scene.prefix}.commands", to_records(scene, commands))


def _key(command: Command) -> bytes:
    return str(command["run_id"] or command["mission_id"] or command["command_id"]).encode()


def _record(command: Command, now: int) -> dict[str, Any]:
    branch = "".join(word.capitalize() for word in command["type"].split("_"))
    body = (f"missionbridge.v1.{command.get('branch', branch)}", command["body"])
    return {"issued_at": now, **command, "body": body}


def partitions(bridge: Bridge) -> dict[int, int]:
    """Return the partitions that it accepts commands from, with how far each is complete."""
    shown = bridge.status()["commands"]["partitions"]
    return {int(number): seen["position"] for number, seen in shown.items() if seen["open"]}


def expect_all_done(scene: Stage, *bridges: Bridge, deadline: float = 120.0) -> None:
    """Wait until the bridges together are through with every record of the commands topic."""
    records = read_topic(scene.broker, f"{scene.prefix}.commands")
    ends = {record.partition: record.offset + 1 for record in records}

    def done() -> bool:
        reached: dict[int, int] = {}
        for bridge in bridges:
            reached |= partitions(bridge)
        return ends.items() <= reached.items()

    wait_for(done, deadline)


def results(scene: Stage) -> list[dict[str, Any]]:
    """Return every committed result."""
    topic = f"{scene.prefix}.command-results"
    with decoder(scene.registry_url, topic) as decode:
        return [decode(record.value or b"") for record in read_topic(scene.broker, topic)]
