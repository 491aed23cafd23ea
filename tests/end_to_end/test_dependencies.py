"""What the bridge needs goes away, or is not there when it starts: one clear message, no loss."""

import os
import signal
from pathlib import Path

from support import verdict
from support.brokers import Broker
from support.stage import CANARY, Bridge, stage, wait_for


def test_what_is_away_at_start_is_waited_for_and_then_named(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    nobody = "127.0.0.1:1"
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridges = {
            "api": scene.run(TELNYX_BASE_URL=f"http://{nobody}/v2"),
            "kafka": scene.run(BRIDGE_KAFKA__BOOTSTRAP_SERVERS=nobody),
            "registry": scene.run(BRIDGE_REGISTRY__URL=f"http://{nobody}"),
        }
        for name, bridge in bridges.items():
            assert bridge.wait(120) == 75
            last = bridge.output.strip().splitlines()[-1]
            assert f"{name} could not be reached within 60 s" in last


def test_topics_that_are_missing_are_listed_with_what_makes_them(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = scene.run(BRIDGE_KAFKA__TOPIC_PREFIX=f"{topic_prefix}-other")
        assert bridge.wait() == 78
        for topic in ("events", "checkpoint", "commands", "command-state", "command-results"):
            assert f"topic {topic_prefix}-other.{topic} is missing" in bridge.output
        assert "topics apply" in bridge.output


def test_a_refused_key_is_waited_out_until_its_file_is_replaced(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("wrong-key-of-nobody")
    with stage(kafka, topic_prefix, tmp_path, events=100, api_key=CANARY) as scene:
        env = scene.env(TELNYX_API_KEY_FILE=str(key))
        del env["TELNYX_API_KEY"]
        bridge = Bridge(kafka, env, scene.folder)
        scene.bridges.append(bridge)
        wait_for(lambda: "the API refuses the key (401)" in bridge.output)
        assert bridge.process.poll() is None
        key.write_text(CANARY)
        verdict.expect_exact(scene, bridge.ready())
        scene.control("key", {"api_key": "another-canary-key"})
        wait_for(lambda: "refuses the key (401)" in bridge.reason)
        key.write_text("another-canary-key")
        scene.insert(20, runs=2)
        wait_for(lambda: not bridge.reason)
        verdict.expect_exact(scene, bridge)
        assert bridge.stop() == 0
        assert "another-canary-key" not in bridge.output


def test_the_api_may_go_away_and_come_back(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=100) as scene:
        bridge = scene.run().ready()
        verdict.expect_exact(scene, bridge)
        scene.api.stop()
        wait_for(lambda: bridge.reason)
        scene.api.start()
        scene.insert(20, runs=2)
        wait_for(lambda: not bridge.reason)
        verdict.expect_exact(scene, bridge)
        assert bridge.stop() == 0


def test_the_registry_may_go_away_for_what_is_known(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=100) as scene:
        bridge = scene.run().ready()
        verdict.expect_exact(scene, bridge)
        scene.registry.stop()
        scene.insert(20, runs=2)
        wait_for(lambda: bridge.published >= len(scene.events()))
        scene.registry.start()
        verdict.expect_exact(scene, bridge)
        assert bridge.stop() == 0


def test_the_broker_may_freeze_and_go_on(kafka: Broker, topic_prefix: str, tmp_path: Path) -> None:
    """Frozen for longer than a session, so that the lease and the transactions are at stake."""
    with stage(kafka, topic_prefix, tmp_path, events=200) as scene:
        bridge = scene.run("--only", "events").ready()
        verdict.expect_exact(scene, bridge)
        for pid in kafka.pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            scene.insert(20, runs=2)
            wait_for(lambda: bridge.reason, 90)
        finally:
            for pid in kafka.pids:
                os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not bridge.reason, 90)
        verdict.expect_exact(scene, bridge)
        assert bridge.process.poll() is None
        assert bridge.stop() == 0


def test_a_bridge_that_waits_at_start_still_ends_when_asked(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = scene.run(TELNYX_BASE_URL="http://127.0.0.1:1/v2")
        wait_for(lambda: "dependency_away" in bridge.output)
        assert bridge.stop(30) == 0
