"""What others see: every record of every topic, read by a consumer that nobody here wrote."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support import commands, verdict
from support.brokers import Broker
from support.kafka import Seen, list_topics, read_topic
from support.stage import CANARY, Stage, stage, wait_for

PLAN = [{"step_id": "s-1", "description": "Call", "sequence": 1}]
MALFORMED = {"event_id": 7}
COMPACTED = {"checkpoint", "command-state"}
"""There a record without a value deletes its key."""


@pytest.fixture(params=["our registry", "apicurio"])
def registry(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("apicurio_url") if request.param == "apicurio" else None


@pytest.fixture
def scene(
    kafka: Broker, topic_prefix: str, tmp_path: Path, registry: str | None
) -> Iterator[Stage]:
    """A run with events and commands, also such as cannot be converted or carried out, ended."""
    with stage(
        kafka, topic_prefix, tmp_path, registry=registry, events=300, rate=20, api_key=CANARY
    ) as made:
        made.insert(item_text=json.dumps(MALFORMED))
        orders = commands.working_day(made, 3)
        ids = orders[1]["mission_id"], orders[1]["run_id"]
        logged = {"type": "custom", "summary": "Grüße 🚀", "payload": '{"n":1.10}'}
        orders.insert(0, commands.order("log_event", *ids, **logged))
        orders.append(commands.order("update_run", *ids, result_summary="Done"))
        orders.append(commands.order("create_plan", *ids, steps=PLAN))
        orders.append(commands.order("update_step", *ids, step_id="s-2", status="completed"))
        bridge = made.run().ready()
        commands.produce(made, orders)
        commands.expect_all_done(made, bridge)
        made.quiet()
        wait_for(lambda: bridge.published >= len(made.events()))
        for path in ("/status", "/metrics", "/readyz", "/livez"):
            code, said = bridge.read(path)
            assert code == 200
            assert CANARY.encode() not in said, f"{path} shows the API key"
        assert bridge.stop() == 0
        yield made


def read(scene: Stage, short: str) -> list[tuple[Seen, Any]]:
    """Return every record of a topic with its value, decoded by its schema in the registry."""
    topic = f"{scene.prefix}.{short}"
    with verdict.decoder(scene.registry_url, topic) as decode:
        records = [
            (record, None if record.value is None else decode(record.value))
            for record in read_topic(scene.broker, topic)
        ]
    assert records
    assert short in COMPACTED or all(value is not None for _, value in records)
    return records


def expect_cloud_event(record: Seen, event: dict[str, Any]) -> None:
    """Check the headers against CloudEvents 1.0, Kafka binding, binary mode, and our contract."""
    told = dict(record.headers)
    assert len(told) == len(record.headers), "a header that is there twice"
    assert told.pop("content-type") == b"application/avro"
    names = [name.removeprefix("ce_") for name in told if name.startswith("ce_")]
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in names)
    attributes = {name: told[f"ce_{name}"].decode("utf-8") for name in names}
    assert all(attributes.values())
    assert attributes.keys() == {"specversion", "id", "source", "type", "time", "subject"}
    assert attributes["specversion"] == "1.0"
    assert attributes["id"] == f"{event['run_id']}/{event['event_id']}"
    assert attributes["type"] == f"com.telnyx.mission.event.{event['type']}"
    assert attributes["subject"] == event["run_id"]
    assert urlsplit(attributes["source"]).path
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", attributes["time"])
    assert datetime.fromisoformat(attributes["time"]) == event["timestamp"]


def test_every_record_of_every_topic_can_be_read_by_others(scene: Stage) -> None:
    expect_events(scene)
    expect_commands(scene)
    expect_state(scene)
    expect_no_key(scene)


def expect_events(scene: Stage) -> None:
    """Check the events, their headers, and the one that a command logged."""
    records = read(scene, "events")
    for record, event in records:
        assert record.key == event["run_id"].encode()
        expect_cloud_event(record, event)
    made = {f"{event['run_id']}/{event['event_id']}" for event in scene.events()}
    found = {dict(record.headers)["ce_id"].decode() for record, _ in records}
    assert found < made
    assert len(records) == len(found) == len(made) - 1
    (dead,) = read_topic(scene.broker, f"{scene.prefix}.events.dlq")
    assert json.loads(dead.value or b"") == MALFORMED
    (order,) = (one for _, one in read(scene, "commands") if one["type"] == "log_event")
    logged = [one for _, one in records if one["idempotency_key"] == order["command_id"]]
    payload = {"n": 1.10, "bridge_command_id": order["command_id"]}
    assert [(e["summary"], json.loads(e["payload"])) for e in logged] == [("Grüße 🚀", payload)]


def expect_commands(scene: Stage) -> None:
    """Check that each command has its result, under its key."""
    orders = {one["command_id"]: record.key for record, one in read(scene, "commands")}
    results = {
        one["command_id"]: (record.key, one) for record, one in read(scene, "command-results")
    }
    assert {name: key for name, (key, _) in results.items()} == orders
    for _, result in results.values():
        refused = result["type"] == "update_step"  # of a step that is not there
        assert result["status"] == ("REJECTED" if refused else "SUCCEEDED")
        assert (result["error"] is not None) == refused
        assert result["received_at"] <= result["finished_at"]
        assert result["final"]


def expect_state(scene: Stage) -> None:
    """Check that the bridge's own topics end with what is durable, by key."""
    ledger = {record.key or b"": state for record, state in read(scene, "command-state")}
    orders = {one["command_id"].encode() for _, one in read(scene, "commands")}
    positions = {b"pos/%d" % number for number in range(6)}
    assert orders | positions <= ledger.keys()
    assert all(ledger[order]["kind"] == "done" for order in orders)
    assert all(key.startswith(b"claim/") for key in ledger.keys() - orders - positions)
    checkpoint = {record.key: state for record, state in read(scene, "checkpoint")}
    frontier = checkpoint[b"frontier/default"]
    assert frontier["body"]["published"] == len(scene.events())


def expect_no_key(scene: Stage) -> None:
    """Check that no key, value or header on any topic shows the API key."""
    topics = [name for name in list_topics(scene.broker) if name.startswith(scene.prefix)]
    assert len(topics) == 8
    for topic in topics:
        for record in read_topic(scene.broker, topic):
            assert CANARY not in repr(record), f"{topic} shows the API key"
