"""What counts as a difference between the API and Kafka, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from source_codec import CODEC, EVENTS, at_once

from bridge.clock import Micros
from bridge.missions import jsontext
from bridge.missions.events import event_of
from bridge.missions.models import Event, Malformed
from bridge.source.reading import page_items
from bridge.source.reading.windows import BEGINNING, Ask, Item
from bridge.source.tools.compare import Comparison
from bridge.source.tools.stored_event import StoredEvent, kept
from bridge.source.writing import convert
from bridge.source.writing.headers import DIGEST, ORIGIN, REPLAY

ASK = Ask(1, 50)
NONE: Mapping[str, str] = {}


def event(number: int, **fields: Any) -> Event:
    fields = {
        "event_id": f"event-{number}",
        "run_id": "run",
        "type": "message",
        "summary": "s",
        "timestamp": f"2026-03-09T12:00:{number:02}Z",
        "payload": {"a": 1},
        **fields,
    }
    found = event_of(jsontext.dumps(fields).encode())
    assert isinstance(found, Event)
    return found


def item(row: Event | Malformed) -> Item:
    (one,) = page_items.items([row], ASK, 7) or ()
    return one


def at(number: int) -> Micros:
    return item(event(number)).at


def record(
    row: Event, headers: Mapping[str, str] = NONE, *, dead: bool = False, late: bool = False
) -> StoredEvent | None:
    """Return what is read back of a row that was published."""
    one = item(row)
    if dead:
        value, headers = convert.original(row).encode(), {**headers, DIGEST: one.digest.hex()}
    else:
        value = CODEC.encode(EVENTS, convert.record(one, "mission", 99, late=late))
    return read(value, headers)


def read(value: bytes, headers: Mapping[str, str] = NONE) -> StoredEvent | None:
    pairs = tuple((name, text.encode()) for name, text in headers.items())
    received: Any = ConsumerRecord(
        "missions.events", 3, 14, 10**15, 0, b"run", value, None, 3, len(value), pairs
    )
    return at_once(kept(CODEC, EVENTS, received))


def compared(
    shown: list[Item],
    found: list[StoredEvent | None],
    *,
    start: Micros = BEGINNING,
    until: Micros | None = 10**18,
    low: Micros = BEGINNING,
    is_copy: bool = False,
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Return the differences, as kind and event, and those counts that are not zero."""
    comparison = Comparison("default", low=low, is_copy=is_copy)
    for one in shown:
        comparison.show(one)
    for other in found:
        comparison.find(other)
    differences = comparison.differences(start=start, until=until)
    counts = {name: count for name, count in asdict(comparison.counts).items() if count}
    return [(one.kind, one.event_id) for one in differences], counts


def test_the_same_on_both_sides_is_no_difference() -> None:
    rows = [event(1), event(2, payload=None, new_field="x"), event(3)]
    shown = [item(row) for row in rows]
    found = [record(row, late=row is rows[2]) for row in rows]
    assert compared(shown + shown, found) == ([], {"shown": 3, "records": 3})


@pytest.mark.parametrize(
    "fields",
    [
        {"summary": "other"},
        {"payload": {"a": 2}},
        {"payload": None},
        {"type": "error"},
        {"timestamp": "2026-03-09T12:00:02Z"},
        {"new_field": 1},
        {"idempotency_key": "k"},
    ],
)
def test_other_content_is_a_difference(fields: dict[str, Any]) -> None:
    differences, _ = compared([item(event(1, **fields))], [record(event(1))])
    assert differences == [("changed", "event-1")]


def test_a_difference_says_where_it_shows() -> None:
    comparison = Comparison("default", low=BEGINNING, is_copy=False)
    comparison.show(item(event(1)))
    for _ in range(2):
        comparison.find(record(event(1)))
    (one,) = comparison.differences(start=BEGINNING, until=None)
    assert (one.kind, one.topic, one.partition, one.offset) == ("doubled", "missions.events", 3, 14)


def test_an_event_that_is_published_and_dead_lettered_is_doubled() -> None:
    found = [record(event(1)), record(event(1), dead=True)]
    differences, counts = compared([item(event(1))], found)
    assert differences == [("doubled", "event-1")]
    assert counts["dead_letters"] == 1


def test_a_dead_letter_is_where_its_event_went_whatever_it_holds() -> None:
    malformed = Malformed({"timestamp": "2026-03-09T12:00:01Z"}, "no event")
    bad_time = event(2, timestamp="soon")
    letters = [
        read(convert.original(malformed).encode(), {DIGEST: item(malformed).digest.hex()}),
        record(bad_time, dead=True),
        read(b'{"stub": true}', {DIGEST: item(event(3)).digest.hex()}),
    ]
    shown = [item(malformed), item(bad_time), item(event(3))]
    assert compared(shown, letters) == ([], {"shown": 3, "dead_letters": 3})


def test_only_what_the_watermark_speaks_of_is_missing() -> None:
    shown = [item(event(number)) for number in (1, 2, 3)]
    differences, counts = compared(shown, [], start=at(2), until=at(2))
    assert differences == [("missing", "event-2")]
    assert (counts["before_start"], counts["pending"]) == (1, 1)
    assert compared(shown, [], until=None) == ([], {"shown": 3, "pending": 3})


def test_what_the_api_no_longer_shows_is_compared_with_itself_alone() -> None:
    differences, counts = compared([], [record(event(1)), record(event(2))])
    assert (differences, counts["not_shown"]) == ([], 2)
    differences, counts = compared([], [record(event(1)), record(event(1))])
    assert (differences, counts["not_shown"]) == ([("doubled", "event-1")], 1)


def test_a_replay_is_neither_a_double_nor_a_proof_of_the_first_time() -> None:
    replay = record(event(1), {REPLAY: "r"})
    assert compared([item(event(1))], [record(event(1)), replay, replay])[0] == []
    assert compared([item(event(1))], [replay])[0] == [("missing", "event-1")]


def test_in_another_topic_a_replay_counts() -> None:
    replay = record(event(1), {REPLAY: "r"})
    assert compared([item(event(1))], [replay], is_copy=True)[0] == []
    changed = record(event(1, summary="other"), {REPLAY: "r"})
    assert compared([item(event(1))], [changed], is_copy=True)[0] == [("changed", "event-1")]


def test_the_events_of_another_source_are_its_own() -> None:
    other, ours = {ORIGIN: "source=other;batch=1"}, {ORIGIN: "source=default;batch=1"}
    found = [record(event(1), ours), record(event(2), other), record(event(2), other)]
    assert compared([item(event(1))], found) == ([], {"shown": 1, "records": 1})


def test_an_account_that_two_sources_read_shows_as_doubled() -> None:
    found = [record(event(1), {ORIGIN: f"source={name}"}) for name in ("default", "other")]
    assert compared([item(event(1))], found)[0] == [("doubled", "event-1")]


def test_what_is_older_than_asked_for_is_left_out_on_both_sides() -> None:
    shown = [item(event(1)), item(event(2))]
    found = [record(event(1)), record(event(1)), record(event(2))]
    assert compared(shown, found, low=at(2)) == ([], {"shown": 1, "records": 1})


def test_a_changed_timestamp_is_found_on_either_side_of_the_bound() -> None:
    moved = record(event(2, timestamp="2026-03-09T11:00:00Z"))
    assert compared([item(event(2))], [moved], low=at(2))[0] == [("changed", "event-2")]


def test_records_without_an_event_are_counted() -> None:
    found = [read(b"garbage"), read(b"{}", {DIGEST: "no hex"}), record(event(1))]
    assert compared([item(event(1))], found) == ([], {"shown": 1, "records": 1, "unreadable": 2})
