"""What the bridge needs goes away, or is not there when it starts: one clear message, no loss."""

import json
import os
import signal
from pathlib import Path

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from support import command_review, commands, verdict
from support.brokers import Broker
from support.kafka import read_topic, write_topic
from support.stage import CANARY, Bridge, Server, Stage, stage, wait_for

from bridge.dev.servers.registry import RegistryServer


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


def test_an_api_that_limits_everything_at_start_is_there_and_waited_for(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=100) as scene:
        scene.control("faults", {"kind": "status", "status": 429})
        bridge = scene.run()
        wait_for(lambda: '"ownership"' in bridge.output)  # start-up is behind it
        assert "429" in bridge.output
        scene.control("reset-faults", {})
        verdict.expect_exact(scene, bridge.ready())
        assert bridge.stop() == 0


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


def test_a_registry_that_was_reset_stops_writing_until_it_is_restored(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=100) as scene:
        bridge = scene.run().ready()
        verdict.expect_exact(scene, bridge)
        scene.registry.stop()
        reset = Server(RegistryServer().app, int(scene.registry_url.rpartition(":")[2]))
        reset.start()
        try:
            with SchemaRegistryClient({"url": scene.registry_url}) as registry:
                for number in range(10):
                    text = json.dumps({"type": "record", "name": f"R{number}", "fields": []})
                    registry.register_schema(f"else-{number}-value", Schema(text, "AVRO"))
            wait_for(lambda: "another meaning" in bridge.reason)
            written = len(read_topic(scene.broker, f"{scene.prefix}.events"))
            scene.insert(20, runs=2)
            wait_for(lambda: bridge.reason.count("another meaning") > 1)  # the source as well
            assert len(read_topic(scene.broker, f"{scene.prefix}.events")) == written
        finally:
            reset.stop()
        scene.registry.start()
        verdict.expect_exact(scene, bridge)
        wait_for(lambda: not bridge.reason)
        assert bridge.stop() == 0


def test_a_registry_that_refuses_is_told_at_once_with_the_permission(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    async def refuse(_request: Request) -> JSONResponse:
        return JSONResponse({"error_code": 40301, "message": "User is denied"}, 403)

    refusing = Server(Starlette(routes=[Route("/{path:path}", refuse, methods=["GET", "POST"])]))
    with stage(kafka, topic_prefix, tmp_path) as scene:
        refusing.start()
        try:
            bridge = scene.run(BRIDGE_REGISTRY__URL=refusing.url)
            assert bridge.wait() == 78
        finally:
            refusing.stop()
        assert "User is denied" in bridge.output
        assert "grant this user the permission to read subjects" in bridge.output
        assert "dependency_away" not in bridge.output, "it was not waited for"


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


def expect_nothing_done(scene: Stage, bridge: Bridge, finished: int) -> None:
    """See that no more commands than so many were carried out, answered or buried."""
    assert scene.effect_count == len(commands.results(scene)) == finished
    assert not read_topic(scene.broker, f"{scene.prefix}.commands.dlq")
    assert bridge.process.poll() is None


def test_commands_wait_until_a_refused_key_is_replaced(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(CANARY)
    with stage(kafka, topic_prefix, tmp_path, api_key=CANARY) as scene:
        env = scene.env(TELNYX_API_KEY_FILE=str(key))
        del env["TELNYX_API_KEY"]
        bridge = Bridge(kafka, env, scene.folder, "--only", "commands").ready()
        scene.bridges.append(bridge)
        before, after = commands.working_day(scene, 2), commands.working_day(scene, 3)
        commands.produce(scene, before)
        commands.expect_all_done(scene, bridge)
        done = commands.partitions(bridge)

        scene.control("key", {"api_key": "another-canary-key"})
        commands.produce(scene, after)
        wait_for(lambda: "the API refuses the key (401)" in bridge.reason)
        tried = bridge.metric("bridge_dependency_failures_total", dependency="api key")
        wait_for(
            lambda: (
                bridge.metric("bridge_dependency_failures_total", dependency="api key") > tried + 1
            )
        )
        assert commands.partitions(bridge) == done
        expect_nothing_done(scene, bridge, len(before))

        key.write_text("another-canary-key")
        commands.expect_all_done(scene, bridge)
        assert not bridge.reason
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert day.counts == {"SUCCEEDED": len(before) + len(after)}
        assert "another-canary-key" not in bridge.output


def test_commands_of_a_new_schema_wait_for_an_absent_registry(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        bridge = scene.run("--only", "commands").ready()
        orders = commands.working_day(scene, 3)
        widen_schema(scene)
        records = commands.to_records(scene, orders)
        scene.registry.stop()
        write_topic(scene.broker, f"{scene.prefix}.commands", records)
        wait_for(lambda: "registry" in bridge.reason)
        expect_nothing_done(scene, bridge, 0)
        scene.registry.start()
        commands.expect_all_done(scene, bridge)
        wait_for(lambda: not bridge.reason)
        assert bridge.stop() == 0
        day = command_review.review(scene)
        day.assert_sound()
        assert day.counts == {"SUCCEEDED": len(orders)}


def widen_schema(scene: Stage) -> None:
    """Register a version of the commands' schema with a field more, which nobody here has read."""
    subject = f"{scene.prefix}.commands-value"
    with SchemaRegistryClient({"url": scene.registry_url}) as registry:
        text = registry.get_latest_version(subject).schema.schema_str
        record = json.loads(text or "")
        field = {"name": "ticket", "type": ["null", "string"], "default": None}
        record["fields"].append(field)
        registry.register_schema(subject, Schema(json.dumps(record), "AVRO"))
