"""One stranger's flood of commands: events go on, the ops port answers, memory stays bounded.

`make flood` throws as many as in the worst that was seen; the counts here show the same way.
"""

import os
import uuid
from collections import Counter
from pathlib import Path

from support import commands
from support.brokers import Broker
from support.kafka import Sent, write_topic
from support.stage import Bridge, Stage, stage, wait_for

from bridge.clock import Clock

BAD = int(os.environ.get("BAD", "3000"))
GOOD = int(os.environ.get("GOOD", "2000"))
MOST_MEMORY = int(os.environ.get("MOST_MEMORY", "300"))
"""MiB; the ledger remembers each result for a week, which is part of it in `make flood`."""
MOST_SECONDS = float(os.environ.get("MOST_SECONDS", "10"))
"""For an answer of the ops port; a busy machine alone takes some."""
AT_ONCE = 50_000
CLOCK = Clock()


def flood(scene: Stage, records: list[Sent]) -> None:
    for first in range(0, len(records), AT_ONCE):
        write_topic(scene.broker, f"{scene.prefix}.commands", records[first : first + AT_ONCE])


def of_their_own(scene: Stage) -> list[Sent]:
    """Return expired commands, and commands under a wrong key, each with a key of its own."""
    order = commands.order("create_mission", name="x") | {"expires_at": CLOCK.now() - 1}
    (value,) = commands.to_bytes(scene, [order])
    own = order["command_id"].encode()
    made = []
    for number in range(GOOD + BAD):
        command_id = uuid.uuid4().hex.encode()
        key = command_id if number % (GOOD + BAD) < GOOD else command_id[::-1]
        made.append(Sent(key, value.replace(own, command_id)))
    return made


def watched(bridge: Bridge, slowest: list[float]) -> Bridge:
    began = CLOCK.monotonic()
    assert bridge.get("/livez")[0] == 200
    slowest[0] = max(slowest[0], CLOCK.monotonic() - began)
    return bridge


def test_a_flood_of_commands_starves_nobody(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=20) as scene:
        bridge = scene.run().ready()
        wait_for(lambda: bridge.published >= len(scene.events()))
        slowest = [0.0]

        def through(count: int) -> bool:
            told = watched(bridge, slowest).status()["commands"]["results"]
            return bool(sum(told.values()) >= count)

        flood(scene, of_their_own(scene))
        scene.insert(10)
        wait_for(lambda: watched(bridge, slowest).published >= len(scene.events()))
        began = CLOCK.monotonic()
        wait_for(lambda: through(GOOD + BAD), 1_800)
        seconds = CLOCK.monotonic() - began
        told = Counter(bridge.status()["commands"]["results"])
        assert told == {"EXPIRED": GOOD, "REJECTED": BAD}

        flood(scene, [Sent(uuid.uuid4().bytes, b"rubbish") for _ in range(BAD)])
        wait_for(lambda: "dead letters" in bridge.reason)
        scene.insert(10)
        wait_for(lambda: watched(bridge, slowest).published >= len(scene.events()))
        waiting = sum(
            each["waiting"] for each in bridge.status()["commands"]["partitions"].values()
        )
        print(  # noqa: T201 - the figures are what `make flood` is run for
            f"{GOOD + BAD} records in {seconds:.0f} s, {bridge.peak_memory} MiB at most, slowest"
            f" /livez {slowest[0]:.2f} s, {waiting} waiting behind the breaker"
        )
        assert slowest[0] < MOST_SECONDS
        assert bridge.peak_memory < MOST_MEMORY
        assert waiting < 16_384
        assert bridge.stop() == 0
