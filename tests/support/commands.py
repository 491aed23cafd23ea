"""Commands as users give them, and what became of them: the topics compared with the API."""

import json
import subprocess
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from bridge.clock import Clock
from support.kafka import Sent, read_topic, write_topic
from support.stage import COMMAND, Bridge, Stage, wait_for
from support.verdict import decoder

Command = dict[str, Any]
"""A line of `send --file`: the fields of the Avro record, the body as the verb's plain object."""

STEERING = ("pause_run", "resume_run", "cancel_run")


def start(mission_id: str) -> Command:
    """Return the order to start a run of a mission."""
    body = {"input": '{"phone":"+15550100"}', "metadata": None}
    return _command("start_run", mission_id=mission_id, body=body)


def about_run(verb: str, mission_id: str, run_id: str, **body: Any) -> Command:
    """Return an order about a run."""
    return _command(verb, mission_id=mission_id, run_id=run_id, body=body)


def _command(verb: str, **fields: Any) -> Command:
    return {"command_id": uuid.uuid4().hex, "type": verb, **fields}


def working_day(scene: Stage, runs: int) -> list[Command]:
    """Make missions with so many running runs; return four commands for each of the runs.

    One starts another run, the others pause, resume and cancel this one.
    """
    made = []
    for number in range(min(10, runs)):
        share = len(range(number, runs, 10))
        made += scene.insert(share, runs=share)
    mission_of = {event["run_id"]: event["mission_id"] for event in scene.events()}
    commands = []
    for run_id in (event["run_id"] for event in made):
        mission_id = mission_of[run_id]
        commands.append(start(mission_id))
        commands += [about_run(verb, mission_id, run_id) for verb in STEERING]
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


def produce(scene: Stage, commands: Sequence[Command]) -> None:
    """Put commands on their topic with a producer that nobody here wrote."""
    records = [
        Sent(_key(command), value)
        for command, value in zip(commands, to_bytes(scene, commands), strict=True)
    ]
    write_topic(scene.broker, f"{scene.prefix}.commands", records)


def _key(command: Command) -> bytes:
    return str(command.get("run_id") or command["mission_id"]).encode()


def _record(command: Command, now: int) -> dict[str, Any]:
    branch = "".join(word.capitalize() for word in command["type"].split("_"))
    body = (f"missionbridge.v1.{branch}", command["body"])
    return {**command, "issued_at": now, "body": body}


def partitions(bridge: Bridge) -> dict[int, int]:
    """Return the partitions that it accepts commands from, with how far each is complete."""
    shown = bridge.status()["commands"]["partitions"]
    return {int(number): seen["position"] for number, seen in shown.items() if seen["open"]}


def expect_all_done(scene: Stage, bridge: Bridge) -> None:
    """Wait until a bridge is through with every record of the commands topic."""
    records = read_topic(scene.broker, f"{scene.prefix}.commands")
    ends = {record.partition: record.offset + 1 for record in records}
    wait_for(lambda: ends.items() <= partitions(bridge).items(), 120)


def results(scene: Stage) -> list[dict[str, Any]]:
    """Return every committed result."""
    topic = f"{scene.prefix}.command-results"
    with decoder(scene.registry_url, topic) as decode:
        return [decode(record.value or b"") for record in read_topic(scene.broker, topic)]


@dataclass(frozen=True)
class Day:
    """What became of the commands of a topic; effects are commands by id, as the API did them."""

    statuses: dict[str, str]
    effects: list[str]
    order: dict[bytes, list[str]]

    @property
    def counts(self) -> Counter[str]:
        """How many commands ended with which status."""
        return Counter(self.statuses.values())

    def assert_sound(self) -> None:
        """Fail unless each effect came once, where it was told, and in the order of its key."""
        done = Counter(self.effects)
        assert max(done.values()) == 1, f"done twice: {done.most_common(3)}"
        assert done.keys() <= self.statuses.keys(), "an effect that nobody asked for"
        told = {one for one, status in self.statuses.items() if status == "SUCCEEDED"}
        in_doubt = {one for one, status in self.statuses.items() if status == "IN_DOUBT"}
        assert told <= done.keys(), "told as done and not done"
        assert done.keys() <= told | in_doubt, "done, and told as if not"
        place = {command_id: number for number, command_id in enumerate(self.effects)}
        for key, command_ids in self.order.items():
            places = [place[one] for one in command_ids if one in place]
            assert places == sorted(places), f"the effects of {key!r} came out of order"


def review(scene: Stage) -> Day:
    """Compare commands, results and effects; fail unless each command has one result, and final."""
    topic = f"{scene.prefix}.commands"
    order: defaultdict[bytes, list[str]] = defaultdict(list)
    where: dict[str, tuple[int, int]] = {}
    steering: dict[tuple[str, str], str] = {}
    with decoder(scene.registry_url, topic) as decode:
        for record in read_topic(scene.broker, topic):
            command = decode(record.value or b"")
            command_id = command["command_id"]
            order[record.key or b""].append(command_id)
            where[command_id] = record.partition, record.offset
            steering[command["type"], command["run_id"] or ""] = command_id
    told = results(scene)
    assert Counter(result["command_id"] for result in told) == Counter(where.keys())
    for result in told:
        assert result["final"], result
        origin = result["source_partition"], result["source_offset"]
        assert where[result["command_id"]] == origin, result
    done = scene.effects()
    started = {effect["command_id"]: effect["run_id"] for effect in done if "command_id" in effect}
    for result in told:
        if result["type"] == "start_run" and result["status"] == "SUCCEEDED":
            assert started[result["command_id"]] == result["run_id"], result
    return Day(
        statuses={result["command_id"]: result["status"] for result in told},
        effects=[
            effect.get("command_id") or steering[effect["operation"], effect["run_id"]]
            for effect in done
        ],
        order=dict(order),
    )
