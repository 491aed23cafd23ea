"""One stranger's flood of records of every kind, at once: nobody else notices, and nothing is lost.

Right is, while they are worked on: events go on, the ops port answers, memory stays bounded. The
breaker stops what is rubbish for the most part, and one `commands resume` takes up all of it. In
the end each command has the one result that its kind must have, what is to be carried out was so
once, and each record that is no command is one dead letter.

`make flood` throws as many as in the worst that was seen; the counts here show the same way.
"""

import os
import random
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support import commands
from support.brokers import Broker
from support.kafka import Sent, read_topic, write_topic
from support.stage import Bridge, Stage, stage, wait_for
from support.verdict import decoder

from bridge.clock import Clock

BAD = int(os.environ.get("BAD", "3000"))
GOOD = int(os.environ.get("GOOD", "2000"))
MOST_MEMORY = int(os.environ.get("MOST_MEMORY", "300"))
"""MiB; the ledger remembers each result for a week, which is part of it in `make flood`."""
MOST_SECONDS = float(os.environ.get("MOST_SECONDS", "10"))
"""For an answer of the ops port; a busy machine alone takes some."""
AT_ONCE = 50_000
CLOCK = Clock()

Told = tuple[str, str, bool]
"""Of a result: command_id, status, whether it is final."""


@dataclass
class Slowest:
    """Seconds, the most that were seen."""

    livez: float = 0.0
    event: float = 0.0


@dataclass
class Template:
    """A serialized command, of which others are made that differ in their ids."""

    value: bytes
    command_id: bytes
    mission_id: bytes | None

    @classmethod
    def of(cls, scene: Stage, order: commands.Command) -> "Template":
        (value,) = commands.to_bytes(scene, [order])
        mission_id = order["mission_id"]
        return cls(value, order["command_id"].encode(), mission_id and mission_id.encode())

    def another(self) -> tuple[str, Sent]:
        """Return another command_id, and the command with a key of its own."""
        command_id, key = uuid.uuid4().hex, uuid.uuid4()
        value = self.value.replace(self.command_id, command_id.encode())
        if self.mission_id is None:
            return command_id, Sent(command_id.encode(), value)
        mission_id = str(key).encode()
        return command_id, Sent(mission_id, value.replace(self.mission_id, mission_id))


def made(scene: Stage) -> tuple[list[Sent], set[Told], int]:
    """Return the records in any order, what must be told of them, and how many are no commands."""
    create = commands.order("create_mission", name="x")
    good = Template.of(scene, create)
    late = Template.of(scene, create | {"expires_at": CLOCK.now() - 1})
    denied = Template.of(scene, commands.order("delete_mission", str(uuid.uuid4())))
    groups: list[list[Sent]] = []
    told: set[Told] = set()
    for number in range(GOOD):
        kind = number % 20
        template, status = (late, "EXPIRED") if kind > 9 else (denied, "UNAUTHORIZED")
        if kind < 2:
            template, status = good, "SUCCEEDED"
        command_id, record = template.another()
        told.add((command_id, status, True))
        groups.append([record])
        if kind == 1:  # the same again: the second finds the first in its lane or in the ledger
            groups[-1].append(record)
            told.add((command_id, "DUPLICATE", False))
    rubbish = 0
    for number in range(BAD):
        command_id, record = good.another()
        if number % 3:
            groups.append([Sent(record.key, b"rubbish")])
            rubbish += 1
        else:
            groups.append([Sent(command_id[::-1].encode(), record.value)])
            told.add((command_id, "REJECTED", True))
    random.Random(1).shuffle(groups)
    return [record for group in groups for record in group], told, rubbish


def results(scene: Stage) -> list[Told]:
    topic = f"{scene.prefix}.command-results"
    with decoder(scene.registry_url, topic) as decode:
        found = (decode(record.value or b"") for record in read_topic(scene.broker, topic, 300))
        return [(each["command_id"], each["status"], each["final"]) for each in found]


@contextmanager
def watched(bridge: Bridge, slowest: Slowest) -> Iterator[None]:
    """Ask /livez all the time."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            began = CLOCK.monotonic()
            assert bridge.get("/livez")[0] == 200
            slowest.livez = max(slowest.livez, CLOCK.monotonic() - began)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield
        assert asking.is_alive(), "/livez did not answer, or not with 200"
    finally:
        over.set()
        asking.join(60)


def publish_one(scene: Stage, bridge: Bridge, slowest: Slowest) -> None:
    """Let an event happen, and wait until it is published."""
    began, count = CLOCK.monotonic(), bridge.published
    scene.insert(1)
    wait_for(lambda: bridge.published > count)
    slowest.event = max(slowest.event, CLOCK.monotonic() - began)


def test_a_flood_of_commands_starves_nobody(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=20) as scene:
        bridge = scene.run(BRIDGE_COMMANDS__ALLOW="create_mission").ready()
        wait_for(lambda: bridge.published >= len(scene.events()))
        scene.quiet()
        slowest = Slowest()
        records, told, rubbish = made(scene)
        with watched(bridge, slowest):
            for first in range(0, len(records), AT_ONCE):
                write_topic(
                    scene.broker, f"{scene.prefix}.commands", records[first : first + AT_ONCE]
                )
            wait_for(lambda: "dead letters" in bridge.reason)
            publish_one(scene, bridge, slowest)

            began = CLOCK.monotonic()
            scene.command("commands", "resume")
            while sum(commands.partitions(bridge).values()) < len(records):
                publish_one(scene, bridge, slowest)
                assert CLOCK.monotonic() < began + 1_800, bridge.status()
            seconds = CLOCK.monotonic() - began
        memory = bridge.peak_memory
        print(  # noqa: T201 - the figures are what `make flood` is run for
            f"{len(records)} records in {seconds:.0f} s, {memory} MiB at most, slowest /livez"
            f" {slowest.livez:.2f} s, slowest event {slowest.event:.2f} s"
        )
        wait_for(lambda: not bridge.reason)
        assert Counter(results(scene)) == Counter(told)
        created = Counter(effect["command_id"] for effect in scene.effects())
        assert created == Counter(name for name, status, _ in told if status == "SUCCEEDED")
        assert len(read_topic(scene.broker, f"{scene.prefix}.commands.dlq", 300)) == rubbish
        assert slowest.livez < MOST_SECONDS
        assert memory < MOST_MEMORY
        assert bridge.stop() == 0
