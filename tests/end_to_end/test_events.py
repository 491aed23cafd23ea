"""Real processes, real kills: every event of the API is on the topic once and in order."""

import random
import threading
from functools import partial
from pathlib import Path

import pytest
from support import verdict
from support.brokers import Broker
from support.stage import Bridge, Stage, stage, wait_for

from bridge.clock import Clock


def owns(bridge: Bridge) -> bool:
    return bridge.published >= 0


def has_published(bridge: Bridge, count: int) -> bool:
    return bridge.published >= count


def expect_all(scene: Stage) -> None:
    """Compare topic and API as soon as one of the bridges that run has published all."""
    running = [bridge for bridge in scene.bridges if bridge.process.poll() is None]
    verdict.expect_exact(scene, *running, deadline=120)


def test_nothing_is_lost_or_doubled_by_twenty_kills(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    events, kills = 20_000, 20 if kafka.real else 5
    moments = random.Random(1)
    with stage(kafka, topic_prefix, tmp_path, events=events) as scene:
        settings = {"BRIDGE_SOURCE__PAGE_SIZE": "100", "BRIDGE_API__RATE": "20"}
        read: list[int] = []
        for _ in range(kills):
            bridge = scene.run("--only", "events", **settings).ready()
            wait_for(partial(owns, bridge))
            threading.Event().wait(moments.uniform(0.5, 3.0))
            read.append(bridge.published)
            bridge.kill()
        assert read == sorted(read), "a restart went back"
        at_work = {count for count in read if 0 < count < events}
        assert len(at_work) > kills // 3, f"few kills hit the bridge at work: {read}"
        bridge = scene.run("--only", "events", BRIDGE_SOURCE__PAGE_SIZE="1000").ready()
        expect_all(scene)
        assert bridge.stop() == 0


def test_live_events_are_published_while_the_bridge_is_killed(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=300, rate=100) as scene:
        for _ in range(3):
            bridge = scene.run("--only", "events").ready()
            wait_for(partial(has_published, bridge, len(scene.events()) + 1))
            bridge.kill()
        scene.quiet()
        bridge = scene.run("--only", "events").ready()
        expect_all(scene)
        assert bridge.stop() == 0


def test_a_frozen_owner_is_replaced_and_does_no_harm_when_it_wakes(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    frozen_for = 60.0 if kafka.real else 12.0
    with stage(kafka, topic_prefix, tmp_path, events=500, rate=50) as scene:
        first = scene.run("--only", "events").ready()
        wait_for(lambda: first.published >= 500)
        second = scene.run("--only", "events").ready()
        assert second.source()["state"] == "standing by"
        assert second.get("/readyz")[0] == 200
        first.freeze()
        clock = Clock()
        frozen_at = clock.monotonic()
        wait_for(lambda: second.source()["state"] == "tailing")
        went_on = second.published
        wait_for(lambda: second.published > went_on)
        wait_for(lambda: clock.monotonic() >= frozen_at + frozen_for, frozen_for + 10)
        first.wake()
        wait_for(lambda: first.source()["state"] == "standing by")
        went_on = second.published
        wait_for(lambda: second.published > went_on)
        assert second.source()["state"] == "tailing"
        scene.quiet()
        expect_all(scene)
        second.kill()
        wait_for(lambda: first.source()["state"] == "tailing")
        expect_all(scene)
        assert first.stop() == 0


def test_a_stopped_owner_hands_over_at_once(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=200) as scene:
        first = scene.run("--only", "events").ready()
        wait_for(lambda: first.published >= 200)
        second = scene.run("--only", "events").ready()
        assert first.stop() == 0
        # Well within the session time-out of 6 s: it left the group instead of going silent.
        wait_for(lambda: second.source()["state"] == "tailing", deadline=5)
        assert second.published == 200
        assert second.stop() == 0


@pytest.mark.parametrize("start", ["latest", "2020-01-01T00:00:00Z"])
def test_a_first_start_begins_where_it_is_told(
    kafka: Broker, topic_prefix: str, tmp_path: Path, start: str
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=50) as scene:
        bridge = scene.run("--only", "events", BRIDGE_SOURCE__START=start).ready()
        expected = 0 if start == "latest" else 50
        wait_for(lambda: bridge.source().get("fresh_until"))
        wait_for(lambda: bridge.published == expected)
        assert bridge.stop() == 0
