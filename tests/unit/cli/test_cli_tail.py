"""`tail` without a broker: where to begin, decoding, and how a record looks."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import httpx
import pytest
from aiokafka import ConsumerRecord, TopicPartition
from fastavro import schemaless_writer

from bridge.avro.any_schema import SchemaDecoder
from bridge.avro.registry import Registry
from bridge.avro.schema import load_schemas
from bridge.cli.commands.commands_json import to_record
from bridge.cli.tail import as_line, as_object, as_short_line, first_offsets
from bridge.errors import InvalidRecord

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def received(value: Any, key: bytes | None = b"run-1", headers: Any = ()) -> Any:
    return ConsumerRecord(
        topic="missions.events",
        partition=3,
        offset=14,
        timestamp=1_769_817_600_123,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=headers,
    )


def registry(schemas: dict[int, str]) -> Registry:
    def answer(request: httpx.Request) -> httpx.Response:
        text = schemas.get(int(request.url.path.rpartition("/")[2]))
        found: dict[str, Any] = {"error_code": 40403, "message": "no"} if not text else {}
        content = json.dumps(found or {"schema": text}).encode()
        return httpx.Response(404 if found else 200, stream=httpx.ByteStream(content))

    return Registry("http://registry", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("earliest", {A: 5, B: 0}),
        ("latest", {A: 9, B: 2}),
        ("7", {A: 7, B: 2}),
        ("0", {A: 5, B: 0}),
    ],
)
def test_reading_begins_inside_the_log(start: str, expected: dict[TopicPartition, int]) -> None:
    assert first_offsets(start, {A: 5, B: 0}, {A: 9, B: 2}) == expected


async def test_any_value_is_decoded_with_the_schema_that_wrote_it() -> None:
    schema = load_schemas()["mission_command"]
    command = to_record({"type": "create_mission", "body": {"name": "m"}}, schema, now=7)
    out = BytesIO(b"\0\0\0\0\1")
    out.seek(5)
    schemaless_writer(out, schema.parsed, command)
    theirs = '{"type":"record","name":"Theirs","fields":[{"name":"n","type":"long"}]}'
    decoder = SchemaDecoder(registry({1: schema.text, 2: theirs}))
    assert await decoder.decode(b"\0\0\0\0\2\x0e") == {"n": 7}
    decoded = await decoder.decode(out.getvalue())
    assert decoded == {**command, "body": command["body"][1]}
    assert decoded["issued_at"] == 7


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0\0", b"\1\0\0\0\2\x0e", b"\0\0\0\0\3\x0e", b"\0\0\0\0\2", b"\0\0\0\0\2\x0e\0"],
)
async def test_bytes_that_are_no_record_are_not_decoded(data: bytes) -> None:
    theirs = '{"type":"record","name":"Theirs","fields":[{"name":"n","type":"long"}]}'
    with pytest.raises(InvalidRecord):
        await SchemaDecoder(registry({2: theirs})).decode(data)


async def test_a_schema_that_is_dangerous_to_decode_with_is_refused() -> None:
    recursive = (
        '{"type":"record","name":"R","fields":[{"name":"r","type":["null","R"],"default":null}]}'
    )
    with pytest.raises(InvalidRecord, match="recursive"):
        await SchemaDecoder(registry({2: recursive})).decode(b"\0\0\0\0\2\0")


def test_a_record_is_one_line_with_its_telling_fields_first() -> None:
    value = {
        "event_id": "e1",
        "type": "message",
        "summary": "hello",
        "timestamp": 1_769_817_600_000_000,
        "step_id": None,
        "late": False,
    }
    assert as_line(received(b""), value, None) == (
        "2026-01-31T00:00:00.123Z  3/14        run-1                                 "
        "message  hello  event_id=e1  timestamp=2026-01-31T00:00:00.000Z  late=false"
    )


def test_what_a_stranger_wrote_cannot_play_tricks_on_the_terminal() -> None:
    line = as_line(received(b"", key=b"\x1b[2J\xff"), {"summary": "a\nb\x1b]0;x\x07\u202e"}, None)
    assert line.isprintable()
    assert "\\x1b[2J\\xff" in line
    assert "a\\nb\\x1b]0;x\\x07\\u202e" in line


def test_a_dead_letter_is_shown_as_bytes_and_headers() -> None:
    letter = received(b'{"id":1}\0', None, [("bridge_error_class", b"undecodable")])
    line = as_line(letter, b'{"id":1}\0', None)
    assert '  -                                     {"id":1}\\x00' in line
    assert line.endswith("  bridge_error_class=undecodable")
    assert as_object(letter, b'{"id":1}\0', None) == {
        "topic": "missions.events",
        "partition": 3,
        "offset": 14,
        "timestamp": 1_769_817_600_123,
        "key": None,
        "headers": {"bridge_error_class": "undecodable"},
        "value_base64": b'{"id":1}\0',
    }


def test_what_cannot_be_decoded_says_why() -> None:
    assert as_object(received(b"x"), b"x", "no such schema")["problem"] == "no such schema"
    assert as_line(received(b"x"), b"x", "no such schema").endswith("x  problem=no such schema")


def test_a_header_without_a_value_does_no_harm() -> None:
    headers = [("a", None), ("b", b"\xff")]
    shown = as_object(received(b"x", headers=headers), b"x", None)
    assert shown["headers"] == {"a": None, "b": "\\xff"}
    assert as_line(received(b"x", headers=headers), b"x", None).endswith("x  b=\\xff")


def test_a_deletion_is_shown_as_null() -> None:
    assert as_object(received(None), None, None)["value"] is None
    assert as_line(received(None), None, None).endswith("(null)")


def test_eighty_columns_show_what_happened() -> None:
    run_id = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
    value = {"event_id": run_id, "run_id": run_id, "type": "message", "summary": "hello"}
    line = as_short_line(received(b"", key=run_id.encode()), value, None)
    assert line.startswith("01-31 00:00:00  3/14      6f9619ff  message  hello  event_id=6f9619ff")
    assert len(line) < 80 + len("  run_id=6f9619ff")


def test_what_is_nested_is_json_and_times_are_times() -> None:
    at = 1_769_817_600_000_000
    sweep = {"stop": at, "complete": True, "windows": [{"page": 1, "oldest": at}], "gap": None}
    line = as_line(received(b""), {"kind": "sweep", "complete_until": at, "sweep": sweep}, None)
    time = "2026-01-31T00:00:00.000Z"
    nested = f'{{"stop":"{time}","complete":true,"windows":[{{"page":1,"oldest":"{time}"}}]}}'
    assert line.endswith(f"  sweep  complete_until={time}  sweep={nested}")
