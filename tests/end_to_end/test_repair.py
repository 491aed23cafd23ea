"""A damaged checkpoint is refused by the real process, and rebuilt by the real command."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import verdict
from support.brokers import Broker
from support.kafka import Sent, read_topic, write_topic
from support.stage import Stage, stage, wait_for


def stored(scene: Stage) -> dict[bytes, bytes]:
    """The checkpoint's records as they are now."""
    live = {r.key: r.value for r in read_topic(scene.broker, f"{scene.prefix}.checkpoint")}
    return {key: value for key, value in live.items() if key is not None and value is not None}


def forget(scene: Stage, *keys: bytes) -> None:
    """Delete records of the checkpoint, as somebody with a Kafka client may."""
    write_topic(scene.broker, f"{scene.prefix}.checkpoint", [Sent(key, None) for key in keys])
    wait_for(lambda: not stored(scene).keys() & set(keys))


def a_segment_is_lost(scene: Stage) -> None:
    forget(scene, next(key for key in stored(scene) if key.startswith(b"seg/")))


def a_segment_is_overwritten(scene: Stage) -> None:
    key = next(key for key in stored(scene) if key.startswith(b"seg/"))
    write_topic(scene.broker, f"{scene.prefix}.checkpoint", [Sent(key, b"not a segment")])


def the_frontier_is_overwritten(scene: Stage) -> None:
    rubbish = Sent(b"frontier/default", b"\0\x7f\xff\xff\xff\0")  # of a schema that is not there
    write_topic(scene.broker, f"{scene.prefix}.checkpoint", [rubbish])


def everything_is_lost(scene: Stage) -> None:
    forget(scene, *stored(scene))


@pytest.mark.parametrize(
    "damage",
    [
        a_segment_is_lost,
        a_segment_is_overwritten,
        the_frontier_is_overwritten,
        everything_is_lost,
    ],
)
def test_after_a_repair_the_bridge_goes_on_and_nothing_is_lost_or_doubled(
    kafka: Broker, topic_prefix: str, tmp_path: Path, damage: Callable[[Stage], None]
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=3000, past=3600, rate=50) as scene:
        first = scene.run("--only", "events").ready()
        wait_for(lambda: first.published >= 3000)
        assert first.stop() == 0  # a transaction that a kill leaves open would hide the damage
        damage(scene)
        if damage is not everything_is_lost:
            held = scene.run()
            wait_for(lambda: "`mission-bridge repair`" in held.output)
            sent = scene.command("send", "create_mission", "--body", '{"name":"x"}', "--wait", "60")
            assert "SUCCEEDED" in sent, "commands go on"
            assert held.stop() == 0
        assert "nothing was written" in scene.command("repair", "--dry-run")
        assert scene.command("repair").endswith("repaired: `run` goes on from it\n")
        assert "nothing to repair" in scene.command("repair")
        second = scene.run("--only", "events").ready()
        before = len(scene.events())
        wait_for(lambda: second.published > before)
        scene.quiet()
        count = len(scene.events())
        wait_for(lambda: second.published >= count)
        assert second.stop() == 0
        records = verdict.events_on_topic(scene.broker, scene.prefix)
        with verdict.decoder(scene.registry_url, f"{scene.prefix}.events") as decode:
            verdict.judge(scene.simulator, records, decode).assert_exact()
        assert scene.command("audit").endswith("no difference\n")
