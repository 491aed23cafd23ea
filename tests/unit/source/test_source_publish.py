"""The records of a batch: where they go, what stands in them, and what becomes of the rest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from source_codec import AUDITS, CHECKPOINT, CODEC, EVENTS, decode
from source_state import planned

from bridge.clock import SECOND
from bridge.config.models import Settings
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import RECORD_BYTES, Record
from bridge.missions import jsontext
from bridge.missions.events import event_of
from bridge.missions.models import Event, Malformed
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.records import read_back
from bridge.source.checkpoint.state import Checkpoint, Fresh
from bridge.source.reading import page_items
from bridge.source.reading.windows import BEGINNING, Ask, Link
from bridge.source.writing import convert
from bridge.source.writing.certificate import Proof
from bridge.source.writing.publish import STUB_BYTES, Layout, Publisher, origin_of
from bridge.source.writing.transaction import BATCH_ITEMS

NOW = 1_773_057_600 * SECOND
ORIGIN = "https://api.example.test/v2/ai/missions"
LAYOUT = Layout.of(Settings(), "default", events=6, checkpoints=3)
ASK = Ask(1, 1000)
PROOF = Proof("deep", 7, NOW, BEGINNING, 900 * SECOND, links=(Link(ASK, 3, NOW, NOW, "top"),))


def event(number: int = 1, **fields: Any) -> Event:
    fields = {
        "event_id": f"event-{number}",
        "run_id": "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11",
        "type": "tool_call",
        "summary": "s",
        "timestamp": "2026-03-09T12:00:00.132341Z",
        **fields,
    }
    found = event_of(jsontext.dumps(fields).encode())
    assert isinstance(found, Event)
    return found


def published(*rows: Event | Malformed) -> list[Record]:
    """Return the records of a first batch with these rows."""
    state, publisher = Checkpoint("default", "feed"), Publisher(CODEC, LAYOUT, ORIGIN)
    missions = {event().run_id: "mission-1"}
    events: list[Record] = []
    fresh: list[Fresh] = []
    new = state.new(page_items.items(rows, ASK, NOW) or (), Position(frontier=NOW), proven=False)
    for item in new:
        mission_id, origin = missions.get(item.run_id), origin_of(ASK, "default", 1, PROOF)
        record, is_event = publisher.event(item, mission_id, NOW, origin, late=False)
        events.append(record)
        fresh.append(Fresh(item, late=False, is_event=is_event))
    batch = state.plan(new, fresh, Position(frontier=NOW), server_time=NOW, keep=0)
    return events + publisher.records(state, batch, NOW, PROOF)


def headers(record: Record) -> dict[str, str]:
    assert len(dict(record.headers)) == len(record.headers)
    return {name: value.decode() for name, value in record.headers}


def test_an_event_is_a_cloud_event_on_the_partition_of_its_run() -> None:
    record, *_ = published(event())
    run_id = event().run_id
    assert record.topic == "missions.events"
    assert record.key == run_id.encode()
    assert record.partition == murmur2(run_id.encode(), 6)
    assert headers(record) == {
        "content-type": "application/avro",
        "ce_specversion": "1.0",
        "ce_id": f"{run_id}/event-1",
        "ce_source": ORIGIN,
        "ce_type": "com.telnyx.mission.event.tool_call",
        "ce_time": "2026-03-09T12:00:00.132341Z",
        "ce_subject": run_id,
        "bridge_origin": "source=default;batch=1;sweep=7;pass=deep;page=1;size=1000",
    }
    value = decode(EVENTS, record.value)
    assert (value["event_id"], value["mission_id"]) == ("event-1", "mission-1")


def test_an_event_of_an_unknown_run_has_no_mission() -> None:
    record, *_ = published(event(run_id="another"))
    assert decode(EVENTS, record.value)["mission_id"] is None


def test_the_checkpoint_comes_last_on_the_partition_of_its_source() -> None:
    records = published(event(1), Malformed({"a": 1}, "no event"), event(2))
    topics = [record.topic for record in records]
    assert topics == [
        "missions.events",
        "missions.events.dlq",
        "missions.events",
        "missions.audit",
        "missions.checkpoint",
        "missions.checkpoint",
        "missions.checkpoint",
    ]
    state = records[4:]
    assert {record.partition for record in state} == {murmur2(b"default", 3)}
    live = {(one.key or b"").decode(): decode(CHECKPOINT, one.value) for one in state}
    assert list(live) == ["seg/default/1", f"run/default/{event().run_id}", "frontier/default"]
    assert read_back("default", "feed", live).published == 3


def test_a_sweep_leaves_a_certificate() -> None:
    certificate = published(event(1), event(2))[2]
    assert (certificate.topic, certificate.key) == ("missions.audit", b"default")
    told = decode(AUDITS, certificate.value)
    assert (told["kind"], told["batch"], told["source"]) == ("sweep", 1, "default")
    sweep = told["sweep"]
    assert (sweep["pass"], sweep["number"], sweep["published"]) == ("deep", 7, 2)
    assert sweep["windows"] == [
        {"page": 1, "size": 1000, "items": 3, "newest": NOW, "oldest": NOW, "link": "top"}
    ]


def test_an_expired_segment_becomes_a_tombstone() -> None:
    state = Checkpoint("default", "feed")
    items = page_items.items([event()], ASK, NOW) or ()
    first = planned(state, items, Position(), server_time=NOW, keep=0)
    state.apply(first)
    later = Position(frontier=NOW * 2)
    batch = state.plan([], [], later, server_time=NOW, keep=NOW * 2)
    records = Publisher(CODEC, LAYOUT, ORIGIN).records(state, batch, NOW, PROOF)
    assert [(one.key, one.value is None) for one in records[1:]] == [
        (b"seg/default/1", True),
        (b"frontier/default", False),
    ]


LETTERS: dict[str, tuple[Event | Malformed, str, bytes | None]] = {
    "no event": (Malformed({"event_id": None}, "event_id: required"), "no_event", None),
    "no JSON": (Malformed(jsontext.Raw('{"a":\udc80'), "no JSON"), "no_event", None),
    "bad timestamp": (event(timestamp="soon"), "bad_timestamp", event().run_id.encode()),
    "a year that no header can hold": (
        event(timestamp="9999-12-31T23:59:59-14:00"),
        "bad_timestamp",
        event().run_id.encode(),
    ),
}


@pytest.mark.parametrize("kind", LETTERS)
def test_what_cannot_be_published_is_a_dead_letter(kind: str) -> None:
    row, reason, key = LETTERS[kind]
    record, *_ = published(row)
    assert (record.topic, record.partition, record.key) == ("missions.events.dlq", 0, key)
    assert record.value == convert.original(row).encode("utf-8", "surrogatepass")
    said = headers(record)
    assert said["bridge_error_class"] == reason
    assert said["bridge_failed_at"] == "2026-03-09T12:00:00.000000Z"
    assert said["__connect.errors.stage"] == "VALUE_CONVERTER"
    assert said["__connect.errors.exception.class.name"] == "bridge.errors.InvalidRecord"
    assert said["__connect.errors.exception.message"]


@pytest.mark.parametrize("where", ["summary", "event_id", "run_id", "type", "payload"])
def test_an_event_too_large_for_kafka_is_a_stub(where: str) -> None:
    much = "ä" * RECORD_BYTES
    fields: dict[str, Any] = {where: {"text": much} if where == "payload" else much}
    row = event(**fields)
    records = published(row)
    letter = records[0]
    whole = convert.original(row).encode()
    stub = json.loads(letter.value or b"")
    assert letter.topic == "missions.events.dlq"
    assert letter.key == row.run_id.encode()[:STUB_BYTES]
    assert stub["stub"] is True
    assert stub["length"] == len(whole)
    assert stub["sha256"] == hashlib.sha256(whole).hexdigest()
    assert stub["begins"].rstrip("\ufffd") == whole[:STUB_BYTES].decode(errors="ignore")
    assert headers(letter)["bridge_error_class"] == "too_large"
    assert all(record.size <= RECORD_BYTES for record in records), "the checkpoint fits as well"


def test_something_too_large_that_is_no_event_is_a_stub_without_a_key() -> None:
    letter, *_ = published(Malformed({"a": "x" * RECORD_BYTES}, "no event"))
    assert letter.key is None
    assert json.loads(letter.value or b"")["stub"] is True


def test_lone_surrogates_are_published_as_they_were_escaped() -> None:
    row = event(payload=jsontext.loads('{"text":"\\ud800"}'), surprise="\udfff")
    record, *_ = published(row)
    value = decode(EVENTS, record.value)
    assert value["payload"] == '{"text":"\\ud800"}'
    assert value["extra"] == '{"surprise":"\\udfff"}'


def test_the_largest_batch_has_a_checkpoint_that_kafka_takes() -> None:
    rows = [event(n, run_id=f"{n:08}" + "y" * 56) for n in range(BATCH_ITEMS)]
    assert max(record.size for record in published(*rows)) <= RECORD_BYTES
