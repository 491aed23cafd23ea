"""What we rely on from a schema registry, held against ours and one that nobody here wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from bridge.avro.codec import Codec
from bridge.avro.registry import Registry
from bridge.avro.schema import admit
from bridge.avro.subjects import check_all, register_all, subjects
from bridge.dev.servers.registry import RegistryServer
from bridge.errors import ConfigError, InvalidRecord

COMMAND: dict[str, Any] = {
    "command_id": "cmd-1",
    "type": "create_plan",
    "mission_id": "0b0f3f4e-74a5-4a0c-8f7e-6f9d5d0c1b22",
    "run_id": "2f1e4a9c-6f0e-4a27-9a55-0d2f8d7f4a11",
    "account": None,
    "issued_at": 1_772_000_000_123_456,
    "expires_at": None,
    "issuer": None,
    "on_doubt": None,
    "body": (
        "missionbridge.v1.CreatePlan",
        {
            "steps": [
                {
                    "step_id": "s",
                    "description": "Grüße 🚀",
                    "sequence": 1,
                    "parent_step_id": None,
                    "metadata": '{"n":1.10}',
                }
            ]
        },
    ),
}


@pytest.fixture(params=["embedded", "apicurio"])
async def registry_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "apicurio":
        yield request.getfixturevalue("apicurio_url")
        return
    stop = asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(RegistryServer().serve("127.0.0.1", 0, stop, url.set_result))
    yield await url
    stop.set()
    await serving


@pytest.fixture
async def registry(registry_url: str) -> AsyncIterator[Registry]:
    registry = Registry(registry_url)
    yield registry
    await registry.aclose()


@pytest.fixture
async def codec(registry: Registry, topic_prefix: str) -> Codec:
    """A codec for all subjects of a prefix that are registered for it."""
    await register_all(registry, topic_prefix)
    codec = Codec(registry)
    for subject, (schema, _) in subjects(topic_prefix).items():
        await codec.prepare(subject, schema)
    return codec


def changed(text: str, **change: Any) -> str:
    return json.dumps(json.loads(text) | change)


def fields(text: str) -> list[Any]:
    listed = json.loads(text)["fields"]
    assert isinstance(listed, list)
    return listed


async def test_registering_is_done_once_and_seen_by_the_check(
    registry: Registry, topic_prefix: str
) -> None:
    ours = subjects(topic_prefix)
    problems = await check_all(registry, topic_prefix)
    assert [p for p in problems if "not registered" in p] != []
    assert {p.split(":")[0] for p in problems} == set(ours)

    first = await register_all(registry, topic_prefix)
    again = await register_all(registry, topic_prefix)
    assert {done.subject for done in first} == set(ours)
    assert all(done.new for done in first)
    assert not any(done.new for done in again)
    assert [done.schema_id for done in first] == [done.schema_id for done in again]
    assert await check_all(registry, topic_prefix) == []
    for subject, (_, level) in ours.items():
        assert await registry.level(subject) == level


async def test_a_level_that_someone_changed_is_reported_and_mended(
    registry: Registry, topic_prefix: str
) -> None:
    await register_all(registry, topic_prefix)
    subject = f"{topic_prefix}.events-value"
    await registry.set_level(subject, "BACKWARD_TRANSITIVE")
    (problem,) = await check_all(registry, topic_prefix)
    assert "BACKWARD_TRANSITIVE, not FULL_TRANSITIVE" in problem
    await register_all(registry, topic_prefix)
    assert await check_all(registry, topic_prefix) == []


async def test_what_was_registered_is_found_in_every_way(
    registry: Registry, topic_prefix: str
) -> None:
    for done in await register_all(registry, topic_prefix):
        schema = subjects(topic_prefix)[done.subject].schema
        text = await registry.by_id(done.schema_id)
        latest = await registry.latest(done.subject)
        assert text is not None
        assert latest is not None
        assert latest.schema_id == done.schema_id
        assert await registry.versions(done.subject) == [1]
        assert await registry.version(done.subject, 1) == latest
        assert admit("by id", text).fingerprint == schema.fingerprint
        assert admit("latest", latest.text).fingerprint == schema.fingerprint
        spaced = json.dumps(json.loads(schema.text), indent=3)
        assert await registry.lookup(done.subject, spaced) == done.schema_id


async def test_what_is_not_there_is_said_to_be_missing(
    registry: Registry, topic_prefix: str
) -> None:
    subject = f"{topic_prefix}.events-value"
    text = subjects(topic_prefix)[subject].schema.text
    assert await registry.lookup(subject, text) is None
    assert await registry.latest(subject) is None
    assert await registry.versions(subject) == []
    assert await registry.level(subject) is None
    assert await registry.compatible(subject, text)
    assert await registry.by_id(2_000_000_000) is None
    await registry.register(subject, text)
    assert await registry.version(subject, 9) is None
    assert await registry.lookup(subject, changed(text, fields=fields(text)[:3])) is None


async def test_levels_are_enforced(registry: Registry, topic_prefix: str) -> None:
    await register_all(registry, topic_prefix)
    events = f"{topic_prefix}.events-value"
    text = subjects(topic_prefix)[events].schema.text
    optional = {"name": "color", "type": ["null", "string"], "default": None}
    required = {"name": "color", "type": "string"}
    without_id = changed(text, fields=fields(text)[1:])
    for bad in (changed(text, fields=[*fields(text), required]), without_id):
        assert not await registry.compatible(events, bad)
        with pytest.raises(ConfigError, match="refuses the schema of"):
            await registry.register(events, bad)
    good = changed(text, fields=[*fields(text), optional])
    assert await registry.compatible(events, good)
    assert await registry.register(events, good)
    assert len(await registry.versions(events)) == 2


async def test_commands_may_get_a_verb_more_and_never_one_less(
    registry: Registry, topic_prefix: str
) -> None:
    await register_all(registry, topic_prefix)
    commands = f"{topic_prefix}.commands-value"
    text = subjects(topic_prefix)[commands].schema.text
    *others, body = fields(text)
    assert body["name"] == "body"
    verb = {"type": "record", "name": "Teleport", "fields": []}
    more = changed(text, fields=[*others, body | {"type": [*body["type"], verb]}])
    less = changed(text, fields=[*others, body | {"type": body["type"][:-1]}])
    assert await registry.compatible(commands, more)
    assert not await registry.compatible(commands, less)


async def test_nonsense_is_refused(registry: Registry, topic_prefix: str) -> None:
    subject = f"{topic_prefix}.events-value"
    await register_all(registry, topic_prefix)
    with pytest.raises(ConfigError):
        await registry.register(subject, '{"type":"nonsense"}')
    assert not await registry.compatible(subject, '{"type":"nonsense"}')


async def test_a_strangers_version_is_read_and_a_foreign_schema_is_not(
    registry: Registry, codec: Codec, topic_prefix: str
) -> None:
    commands, events = f"{topic_prefix}.commands-value", f"{topic_prefix}.events-value"
    text = subjects(topic_prefix)[commands].schema.text
    newer = changed(text, fields=[*fields(text), {"name": "hue", "type": "int", "default": 0}])
    stranger = await registry.register(commands, newer)
    body = codec.encode(commands, COMMAND)[5:]
    data = b"\0" + stranger.to_bytes(4, "big") + body + b"\2"
    assert await codec.decode(commands, data) == COMMAND
    foreign = await registry.lookup(events, subjects(topic_prefix)[events].schema.text)
    assert foreign is not None
    for schema_id, reason in ((foreign, "foreign_schema"), (2_000_000_000, "unknown_schema")):
        with pytest.raises(InvalidRecord) as caught:
            await codec.decode(commands, b"\0" + schema_id.to_bytes(4, "big") + body)
        assert caught.value.reason == reason


async def test_what_a_deleted_version_wrote_is_still_read(
    registry: Registry, codec: Codec, topic_prefix: str
) -> None:
    commands = f"{topic_prefix}.commands-value"
    text = subjects(topic_prefix)[commands].schema.text
    newer = changed(text, fields=[*fields(text), {"name": "hue", "type": "int", "default": 0}])
    deleted = await registry.register(commands, newer)
    await registry._ask("DELETE", f"subjects/{commands}/versions/2")
    data = b"\0" + deleted.to_bytes(4, "big") + codec.encode(commands, COMMAND)[5:] + b"\2"
    assert await codec.decode(commands, data) == COMMAND
    await codec.verify()
    codec.check()


@pytest.mark.parametrize("pinned", [True, False], ids=["latest version", "registers itself"])
async def test_confluents_serializers_understand_us_and_we_them(
    registry_url: str, codec: Codec, topic_prefix: str, *, pinned: bool
) -> None:
    commands = f"{topic_prefix}.commands-value"
    text = subjects(topic_prefix)[commands].schema.text
    context = SerializationContext(f"{topic_prefix}.commands", MessageField.VALUE)
    how = {"auto.register.schemas": not pinned, "use.latest.version": pinned}

    def theirs() -> tuple[bytes, Any]:
        with SchemaRegistryClient({"url": registry_url}) as client:
            written = AvroSerializer(client, text, conf=how)(COMMAND, context)
            read = AvroDeserializer(client)(codec.encode(commands, COMMAND), context)
        assert written is not None
        return written, read

    written, read = await asyncio.to_thread(theirs)
    assert await codec.decode(commands, written) == COMMAND
    assert written == codec.encode(commands, COMMAND)
    issued = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=COMMAND["issued_at"])
    assert read == COMMAND | {"issued_at": issued, "body": COMMAND["body"][1]}
