"""The checksum by which a change of an event is told."""

from __future__ import annotations

import io
import json
import zlib
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from fastavro import schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st
from source_state import planned

from bridge.avro.schema import admit, load_schemas
from bridge.missions.events import event_of
from bridge.missions.models import Malformed
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.records import read_back, records
from bridge.source.checkpoint.segment import Segment, SegmentEntry
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading import page_items
from bridge.source.reading.content import checksum
from bridge.source.reading.windows import Ask

ROW: dict[str, Any] = {
    "event_id": "e",
    "run_id": "r",
    "type": "message",
    "summary": "s",
    "timestamp": "2026-03-09T12:00:00Z",
    "payload": {"a": [1, 2.5, "x  y"], "b": {"c": 'quo"te\\', "d": ""}},
}


def of(text: str) -> int:
    return checksum(event_of(text.encode()))


def test_white_space_and_what_is_not_documented_say_nothing() -> None:
    told = of(json.dumps(ROW))
    assert of(json.dumps(ROW, separators=(",", ":"))) == told
    assert of(json.dumps(ROW, indent="\t")) == told
    assert of(json.dumps(dict(reversed(ROW.items())))) == told
    assert of(json.dumps(ROW | {"step_id": None, "new": 7})) == told


@pytest.mark.parametrize(
    "change",
    [
        {"summary": ""},
        {"step_id": ""},
        {"agent_id": "s"},
        {"payload": None},
        {"payload": {"a": [1, 2.5, "x y"], "b": {"c": 'quo"te\\', "d": ""}}},
        {"payload": {"a": [1, 2.5, "x  y"], "b": {"c": 'quo"te\\', "d": " "}}},
        {"payload": "\ud800"},
        {"payload": {"a": [1, 25, "x  y"], "b": {"c": 'quo"te\\', "d": ""}}},
    ],
)
def test_every_documented_field_counts(change: dict[str, Any]) -> None:
    assert of(json.dumps(ROW | change)) != of(json.dumps(ROW))


@given(st.recursive(st.text('a "\\\ud800\udc00ud8') | st.integers(), st.lists, max_leaves=20))
def test_the_layout_of_a_payload_never_counts(payload: Any) -> None:
    compact = json.dumps(ROW | {"payload": payload}, separators=(",", ":"))
    assert of(compact) == of(json.dumps(ROW | {"payload": payload}, indent=3))


def test_the_layout_of_a_long_payload_does_not_count() -> None:
    long = ROW | {"payload": [["x" * number, " "] for number in range(800)]}
    assert of(json.dumps(long)) == of(json.dumps(long, separators=(",", ":")))


def test_the_checksum_is_that_of_other_processes() -> None:
    """A change of it needs another number in `segment.CONTENT`."""
    assert of(json.dumps(ROW)) == 1_407_028_411
    assert checksum(Malformed({"a": 1}, "e")) == zlib.crc32(b'{"a":1}')


def test_an_old_checksum_is_known_and_not_compared() -> None:
    segment = Segment.pack(bytes(16), 1, [SegmentEntry(b"d" * 16, 7, 99)], 7)
    assert [one.checksum for one in segment.unpack()] == [99]
    assert [one.checksum for one in replace(segment, content=0).unpack()] == [0]
    assert replace(segment, content=0).is_sound


def test_a_checkpoint_of_the_version_before_is_read_and_changes_nothing_by_its_checksums() -> None:
    schema = load_schemas()["checkpoint"]
    before = json.loads(schema.text)
    (segment,) = (one for one in before["fields"][1]["type"] if one.get("name") == "Segment")
    segment["fields"] = [one for one in segment["fields"] if one["name"] != "content"]
    state = Checkpoint("default", "feed")
    (item,) = page_items.items([event_of(json.dumps(ROW).encode())], Ask(1, 50), 0) or ()
    batch = planned(state, [item], Position(), server_time=0, keep=0)
    live: dict[str, dict[str, Any]] = {}
    writer = admit("checkpoint", json.dumps(before))
    for key, value in records(state, batch):
        written = io.BytesIO()
        schemaless_writer(written, writer.parsed, value)
        written.seek(0)
        live[key] = cast(
            "dict[str, Any]",
            schemaless_reader(
                written,
                writer.parsed,
                schema.parsed,
                return_record_name=True,
                return_record_name_override=True,
            ),
        )
    read = read_back("default", "feed", live)
    changed = msgspec.structs.replace(item, checksum=item.checksum ^ 1)
    assert read.seen == {item.digest: 0}
    assert read.changed([changed]) == []

    state.apply(batch)
    assert state.changed([changed]) == [changed]
    assert state.changed([item]) == []
