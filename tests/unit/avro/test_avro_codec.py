"""Own values to bytes and back, and what an independent reader makes of them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import avro.schema
import pytest
from avro.io import BinaryDecoder, DatumReader
from avro_fakes import COMMAND, EVENT, StillClock, Wire, registry_over

from bridge.avro.codec import Codec, load_schemas
from bridge.avro.subjects import subjects
from bridge.errors import ConfigError, InvalidRecord

EVENTS = "missions.events-value"
COMMANDS = "missions.commands-value"
SCHEMAS = load_schemas()


@pytest.fixture
async def codec() -> AsyncIterator[Codec]:
    registry = registry_over(Wire())
    codec = Codec(registry, clock=StillClock())
    for subject, (schema, _) in subjects("missions").items():
        await codec.prepare(subject, schema, register=True)
    yield codec
    await registry.aclose()


async def test_an_event_comes_back_as_it_went(codec: Codec) -> None:
    data = codec.encode(EVENTS, EVENT)
    assert data[:1] == b"\0"
    assert await codec.decode(EVENTS, data) == EVENT


async def test_fields_with_a_default_may_be_left_out(codec: Codec) -> None:
    required = {name: value for name, value in EVENT.items() if value is not None}
    assert await codec.decode(EVENTS, codec.encode(EVENTS, required)) == EVENT


async def test_apache_avro_reads_our_bytes(codec: Codec) -> None:
    source = io.BytesIO(codec.encode(EVENTS, EVENT)[5:])
    schema = avro.schema.parse(SCHEMAS["mission_event"].text)
    value = DatumReader(schema).read(BinaryDecoder(source))
    assert source.read() == b""
    assert isinstance(value, dict)
    times = {"timestamp", "ingested_at"}
    assert {k: v for k, v in value.items() if k not in times} == {
        k: v for k, v in EVENT.items() if k not in times
    }
    assert value["timestamp"] == datetime(2026, 2, 25, 6, 13, 20, 123456, tzinfo=UTC)


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("CreateMission", {"name": "n", "description": "d"}),
    ("UpdateMission", {"instructions": "i"}),
    ("DeleteMission", {}),
    ("CloneMission", {}),
    ("StartRun", {"metadata": "{}"}),
    ("UpdateRun", {"status": "succeeded", "result_payload": "{}"}),
    ("CancelRun", {}),
    ("PauseRun", {}),
    ("ResumeRun", {}),
    ("LogEvent", {"type": "custom", "summary": "s"}),
    ("CreatePlan", {"steps": [{"step_id": "1", "description": "d", "sequence": 1}]}),
    ("AddSteps", {"steps": []}),
    ("UpdateStep", {"step_id": "1", "status": "completed"}),
    ("LinkAgent", {"telnyx_agent_id": "a"}),
    ("UnlinkAgent", {"telnyx_agent_id": "a"}),
]


@pytest.mark.parametrize(("branch", "body"), BODIES)
async def test_a_body_keeps_the_name_of_its_branch(
    codec: Codec, branch: str, body: dict[str, Any]
) -> None:
    name = f"missionbridge.v1.{branch}"
    value = await codec.decode(COMMANDS, codec.encode(COMMANDS, COMMAND | {"body": (name, body)}))
    found, fields = value["body"]
    assert found == name
    assert fields.items() >= {k: v for k, v in body.items() if k != "steps"}.items()
    assert value | {"body": None} == COMMAND | {"body": None}


async def test_an_optional_record_is_just_its_fields(codec: Codec) -> None:
    result = {
        "command_id": "c",
        "type": "start_run",
        "status": "REJECTED",
        "final": True,
        "error": {"code": "invalid", "message": "m", "http_body": None},
        "attempts": 0,
        "received_at": 1,
        "finished_at": 2,
        "source_partition": 0,
        "source_offset": 2**40,
    }
    subject = "missions.command-results-value"
    value = await codec.decode(subject, codec.encode(subject, result))
    assert value.items() >= result.items()


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"event_id": None},
        {"event_id": 7},
        {"event_id": b"bytes"},
        {"summary": "\ud800"},
        {"payload": {"not": "text"}},
        {"timestamp": 2**64},
        {"timestamp": "yesterday"},
    ],
)
async def test_what_does_not_fit_the_schema_is_an_invalid_record(
    codec: Codec, change: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRecord) as caught:
        codec.encode(EVENTS, EVENT | change)
    assert caught.value.reason == "unencodable"


async def test_a_required_field_cannot_be_left_out(codec: Codec) -> None:
    with pytest.raises(InvalidRecord, match="timestamp"):
        codec.encode(EVENTS, {k: v for k, v in EVENT.items() if k != "timestamp"})


async def test_a_missing_schema_names_the_command_that_mends_it() -> None:
    wire = Wire()
    registry = registry_over(wire)
    with pytest.raises(
        ConfigError, match=r"missions\.events-value.*mission-bridge schemas register"
    ):
        await Codec(registry).prepare(EVENTS, SCHEMAS["mission_event"])
    assert not any(request.endswith("/versions") for request in wire.requests)
    await registry.aclose()
