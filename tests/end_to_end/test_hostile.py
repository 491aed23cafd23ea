"""Bytes that are no command: each ends as one dead letter and stops nothing behind it."""

import hashlib
import json
import random
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from confluent_kafka.schema_registry import (
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    ServerConfig,
)
from support import commands
from support.brokers import Broker
from support.command_line import invoke
from support.kafka import Seen, Sent, read_topic, write_topic
from support.raw_kafka import Raw, batch, produce
from support.stage import Stage, stage, wait_for

from bridge.clock import Clock

HEADERS = (("correlation_id", b"\xff\xfe\0"), ("anything", b""))
MANY = tuple((f"header-{number}", b"") for number in range(10_000))
LARGE = tuple((name, bytes(80)) for name, _ in MANY)
MOST_MEMORY = 400
"""MiB, where the largest of the records has 30."""

BOMB = json.dumps({"type": "array", "items": "null"})
TRILLION_ITEMS = bytes.fromhex("80808080 8040")
"""Six bytes that begin an array of a trillion elements of no bytes each."""


@dataclass(frozen=True)
class Hostile:
    """A record that is no command; its dead letter gives one of these reasons."""

    key: bytes | None
    value: bytes | None
    reasons: frozenset[str]
    headers: tuple[tuple[str, bytes], ...] = HEADERS


def header(schema_id: int | None) -> bytes:
    assert schema_id is not None
    return b"\0" + schema_id.to_bytes(4, "big")


def bombs(scene: Stage) -> list[bytes]:
    """Register arrays of nothing and endless records, also as commands; return such values."""
    ours = f"{scene.prefix}.commands-value"
    with SchemaRegistryClient({"url": scene.registry_url}) as registry:
        registry.set_config(ours, ServerConfig(ConfigCompatibilityLevel.NONE))
        bare = registry.register_schema("somebody-value", Schema(BOMB, "AVRO"))
        field = {"name": "steps", "type": {"type": "array", "items": "null"}}
        record = {"type": "record", "name": "MissionCommand", "fields": [field]}
        listed = registry.register_schema(ours, Schema(json.dumps(record), "AVRO"))
        record["fields"] = [{"name": "body", "type": ["null", "MissionCommand"]}]
        nested = registry.register_schema(ours, Schema(json.dumps(record), "AVRO"))
        deep = b"\x02" * 200_000
        return [
            header(bare) + TRILLION_ITEMS,
            header(listed) + TRILLION_ITEMS,
            header(nested) + deep,
        ]


def of_another_topic(scene: Stage, good: bytes) -> bytes:
    with SchemaRegistryClient({"url": scene.registry_url}) as registry:
        other = registry.get_latest_version(f"{scene.prefix}.command-results-value")
    return header(other.schema_id) + good[5:]


def hostile_records(scene: Stage, key: bytes, good: bytes) -> list[Hostile]:
    """Return the records; `good` is the value of a command with that key."""
    chance = random.Random(1)
    named: list[tuple[str, bytes | None]] = [
        ("null_value", None),
        ("truncated", b""),
        ("truncated", b"\0"),
        ("truncated", good[:4]),
        ("truncated", good[:5]),
        ("truncated", good[:-3]),
        ("wrong_magic", b"\x01" + good[1:]),
        ("wrong_magic", b"\xff" + chance.randbytes(300)),
        ("wrong_magic", b'{"type":"start_run"}'),
        ("unknown_schema", header(2**31 - 1) + good[5:]),
        ("foreign_schema", of_another_topic(scene, good)),
        ("trailing_bytes", good + b"\0"),
        ("trailing_bytes", good + good),
        ("too_large", good + bytes(500_000)),
        ("too_large", good + bytes(1_048_000 - len(good))),
        *(("foreign_schema", bomb) for bomb in bombs(scene)),
    ]
    records = [Hostile(key, value, frozenset([reason])) for reason, value in named]
    too_large = frozenset(["too_large"])
    records += [
        Hostile(bytes(1_000_000), good + b"\1", too_large),
        Hostile(key, b"\2" + good, too_large, LARGE),
        Hostile(key, b"\3" + good, frozenset(["wrong_magic"]), MANY),
        Hostile(key, b"\4" + bytes(30 * 2**20), too_large),
    ]
    undecodable = frozenset(["undecodable", "truncated", "trailing_bytes"])
    for size in (8, 64, 512):
        records.append(Hostile(key, good[:5] + chance.randbytes(size), undecodable))
        records.append(Hostile(None, good[:5] + chance.randbytes(size), undecodable))
        records.append(Hostile(b"\xff\0", good[:5] + chance.randbytes(size), undecodable))
    return records


def expect_letter(letter: Seen, record: Seen, reasons: frozenset[str], topic: str) -> None:
    """Check that a dead letter has its record's bytes, and says where it was and what was wrong."""
    own, told = dict(record.headers), dict(letter.headers)
    if "bridge_stub_length" in told:
        size = len(record.value or b"")
        assert size + len(record.key or b"") + len(str(record.headers)) > 900_000
        assert letter.value == (record.value or b"")[:4096]
        assert told["bridge_stub_length"] == str(size).encode()
        digest = hashlib.sha256(record.value or b"").hexdigest()
        assert told["bridge_stub_sha256"] == digest.encode()
    else:
        assert letter.value == record.value
        assert own.items() <= told.items()
    assert letter.key == (record.key if len(record.key or b"") <= 4096 else None)
    assert told["__connect.errors.topic"] == topic.encode()
    assert told["__connect.errors.partition"] == str(record.partition).encode()
    assert told["__connect.errors.offset"] == str(record.offset).encode()
    assert told["__connect.errors.stage"] == b"VALUE_CONVERTER"
    assert told["__connect.errors.exception.class.name"].endswith(b"InvalidRecord")
    assert told["__connect.errors.exception.message"]
    assert told["bridge_error_class"].decode() in reasons
    assert datetime.fromisoformat(told["bridge_failed_at"].decode()).tzinfo is not None


def origin(letter: Seen) -> tuple[int, int]:
    told = dict(letter.headers)
    partition, offset = (told[f"__connect.errors.{name}"] for name in ("partition", "offset"))
    return int(partition), int(offset)


def test_each_ends_as_one_dead_letter_and_the_next_command_is_carried_out(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=20) as scene:
        topic, letters = f"{scene.prefix}.commands", f"{scene.prefix}.commands.dlq"
        mission_id = scene.events()[0]["mission_id"]
        key = mission_id.encode()
        good = commands.to_bytes(scene, [commands.start(mission_id) for _ in range(50)])
        hostile = hostile_records(scene, key, good[0])
        written = []
        for bad, next_one in zip(hostile, good, strict=False):
            written += [Sent(bad.key, bad.value, bad.headers), Sent(key, next_one)]
        write_topic(scene.broker, topic, written)

        bridge = scene.run("--only", "commands").ready()
        commands.expect_all_done(scene, bridge)
        assert bridge.get("/readyz")[0] == 200
        reasons = {bad.value: bad.reasons for bad in hostile}
        buried = {origin(letter): letter for letter in read_topic(scene.broker, letters)}
        for record in read_topic(scene.broker, topic):
            if record.value in reasons:
                letter = buried[record.partition, record.offset]
                expect_letter(letter, record, reasons[record.value], topic)
        assert len(read_topic(scene.broker, letters)) == len(buried) == len(hostile)
        statuses = [result["status"] for result in commands.results(scene)]
        assert statuses == ["SUCCEEDED"] * len(hostile)
        assert len(scene.effects()) == len(hostile)
        assert bridge.peak_memory < MOST_MEMORY

        bridge.kill()
        bridge = scene.run("--only", "commands").ready()
        write_topic(scene.broker, topic, [Sent(key, good[-1])])
        commands.expect_all_done(scene, bridge)
        assert bridge.stop() == 0
        assert len(scene.effects()) == len(hostile) + 1
        assert len(read_topic(scene.broker, letters)) == len(hostile)


def test_batches_that_client_libraries_do_not_read_stop_nothing(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=20) as scene:
        topic, letters = f"{scene.prefix}.commands", f"{scene.prefix}.commands.dlq"
        key = scene.events()[0]["mission_id"].encode()
        value, last = commands.to_bytes(scene, [commands.start(key.decode()) for _ in range(2)])
        bridge = scene.run().ready()
        now = Clock().now() // 1000
        odd = batch([Raw(key, value, ((b"\xff\xfe", b"x"),))], time=now)
        bomb = batch([Raw(key, bytes(700 * 2**20))], "zstd", time=now)
        for data in (odd, bomb):
            produce(scene.broker, topic, 0, data)
        write_topic(scene.broker, topic, [Sent(key, last)])
        (result,) = wait_for(lambda: commands.results(scene))
        assert result["status"] == "SUCCEEDED"
        named, stub = read_topic(scene.broker, letters)
        told = [dict(letter.headers) for letter in (named, stub)]
        assert [each["bridge_error_class"] for each in told] == [b"bad_header", b"too_large"]
        assert (named.key, named.value, told[0]["\\xff\\xfe"]) == (key, value, b"x")
        assert (stub.key, stub.value) == (key, bytes(4096))
        assert told[1]["bridge_stub_length"] == str(700 * 2**20).encode()
        assert bridge.peak_memory < MOST_MEMORY
        shown = invoke("tail", "commands", "--from", "earliest", "--no-follow", env=scene.env())
        assert (shown.code, len(shown.out.splitlines())) == (0, 3)
        assert "\\xff\\xfe" in invoke("dlq", "show", "0:0", env=scene.env()).out
        assert bridge.stop() == 0
