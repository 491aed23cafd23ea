"""From what the API sends to what is published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import SECOND, Micros
from bridge.errors import InvalidRecord
from bridge.missions import jsontext
from bridge.missions.events import event_of
from bridge.missions.models import Event, Malformed
from bridge.missions.timestamps import micros
from bridge.source.identity import digest
from bridge.source.reading import page_items
from bridge.source.reading.windows import Ask, Item
from bridge.source.writing import convert

NOON = 1_773_057_600 * SECOND  # 2026-03-09T12:00:00Z


def event(number: int = 1, **fields: Any) -> Event:
    fields = {
        "event_id": f"event-{number}",
        "run_id": "run-1",
        "type": "tool_call",
        "summary": "s",
        "timestamp": "2026-03-09T12:00:00Z",
        **fields,
    }
    found = event_of(jsontext.dumps(fields).encode())
    assert isinstance(found, Event)
    return found


def items(rows: Sequence[Event | Malformed], otherwise: Micros) -> tuple[Item, ...]:
    found = page_items.items(rows, Ask(1, 1000), otherwise)
    assert found is not None
    return found


def record(row: Event | Malformed, *, late: bool = False) -> dict[str, Any]:
    (item,) = items([row], 0)
    return convert.record(item, "mission-1", NOON, late=late)


# Timestamps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-09T12:00:00Z", NOON),
        ("2026-03-09T12:00:00z", NOON),
        ("2026-03-09t12:00:00Z", NOON),
        ("2026-03-09 12:00:00+00:00", NOON),
        ("2026-03-09T12:00:00-00:00", NOON),
        ("2026-03-09T12:00:00", NOON),
        ("2026-03-09T14:30:00+02:30", NOON),
        ("2026-03-08T22:00:00-14:00", NOON),
        ("2026-03-09T12:00:00.5Z", NOON + 500_000),
        ("2026-03-09T12:00:00.132341Z", NOON + 132_341),
        ("2026-03-09T12:00:00.000001Z", NOON + 1),
        ("2026-03-09T12:00:00.123456789Z", NOON + 123_456),
        ("2026-03-09T12:00:00.999999999+00:00", NOON + 999_999),
        ("2026-03-09T12:00:00,5z", NOON + 500_000),
        ("2026-03-09T11:59:60Z", NOON),
        ("2026-03-09t11:59:60.999999999z", NOON),
        ("2026-03-09 11:59:60", NOON),
        ("2026-03-09T14:29:60,5+02:30", NOON),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2999-12-31T23:59:59Z", 32_503_679_999 * SECOND),
    ],
)
def test_a_timestamp_is_microseconds_utc(text: str, expected: int) -> None:
    assert micros(text) == expected


@given(
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29)),  # noqa: DTZ001 - gets its zone below
    st.integers(-14 * 60, 14 * 60),
)
def test_a_timestamp_keeps_every_microsecond_in_every_zone(naive: datetime, minutes: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert micros(moment.isoformat()) == since // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-02-30T00:00:00Z",
        "2026-03-09T25:00:00Z",
        "1773057600",
        "0",
        "2026-03-09T12:00:61Z",
        "2026-03-09T12:60:00Z",
        "2026-02-30T23:59:60Z",
        "x23:59:60Z",
    ],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        micros(text)
    assert caught.value.reason == "bad_timestamp"


# Rows as items


def test_an_item_is_known_by_both_its_ids() -> None:
    (item,) = items([event(run_id="r", event_id="e")], 0)
    assert (item.at, item.digest, item.run_id) == (NOON, digest("r", "e"), "r")


def test_a_row_without_a_time_keeps_its_place() -> None:
    rows: list[Event | Malformed] = [
        Malformed("no event at all", "e"),
        event(1, timestamp="2026-03-09T12:00:02Z"),
        event(2, timestamp="garbage"),
        Malformed({"timestamp": 5}, "e"),
        event(3, timestamp="2026-03-09T12:00:01Z"),
        Malformed(jsontext.Raw("{broken"), "e"),
    ]
    seconds = [(item.at - NOON) / SECOND for item in items(rows, 0)]
    assert seconds == [2, 2, 2, 2, 1, 1]


def test_a_malformed_row_says_when_it_happened_if_it_can() -> None:
    rows: list[Event | Malformed] = [
        Malformed({"timestamp": "2026-03-09T12:00:02Z", "summary": None}, "e"),
        event(),
    ]
    assert [item.at - NOON for item in items(rows, 0)] == [2 * SECOND, 0]


def test_rows_that_say_nothing_take_the_time_of_the_answer() -> None:
    rows = [Malformed(1, "e"), Malformed(2, "e")]
    assert page_items.items(rows, Ask(1, len(rows)), 0) is None
    assert [item.at for item in items(rows, 7)] == [7, 7]


def test_two_malformed_rows_are_two_items() -> None:
    rows = [Malformed({"a": 1}, "e"), Malformed({"a": 2}, "e"), Malformed({"a": 1}, "other")]
    one, two, same = (item.digest for item in items(rows, 0))
    assert one == same != two


# Items as records


def test_an_event_is_converted_field_by_field() -> None:
    row = event(step_id="step-1", agent_id=None, idempotency_key="key")
    assert record(row, late=True) == {
        "event_id": "event-1",
        "run_id": "run-1",
        "mission_id": "mission-1",
        "type": "tool_call",
        "summary": "s",
        "timestamp": NOON,
        "step_id": "step-1",
        "agent_id": None,
        "idempotency_key": "key",
        "payload": None,
        "late": True,
        "ingested_at": NOON,
        "extra": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"amount":1.10,"big":12345678901234567890123,"tiny":1e-400,"huge":1E+999,"zero":-0}',
        '{"b":1,"a":2}',
        '{"text":"Grüße 世界 🚀","lone":"\\ud800","null":null,"nested":[{"x":[]}]}',
        "{}",
    ],
)
def test_a_payload_is_the_text_that_was_received(text: str) -> None:
    row = event(payload=jsontext.loads(text))
    assert record(row)["payload"] == text
    record(row)["payload"].encode()


def test_unknown_fields_are_kept() -> None:
    raw = jsontext.loads('{"priority":1.50,"tags":["a"],"void":null}')
    extra = record(event(**raw))["extra"]
    assert extra == '{"priority":1.50,"tags":["a"],"void":null}'


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (Malformed({"a": 1}, "event_id: Field required"), "no_event"),
        (event(timestamp="yesterday"), "bad_timestamp"),
    ],
)
def test_what_cannot_be_converted_says_why(row: Event | Malformed, reason: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        record(row)
    assert caught.value.reason == reason


def test_a_dead_letter_carries_what_was_received() -> None:
    text = '{"event_id":null,"n":1.10,"s":"\\ud800"}'
    assert convert.original(Malformed(jsontext.loads(text), "e")) == text
    assert convert.original(Malformed(jsontext.Raw("{cut"), "e")) == "{cut"
    row = event(timestamp="yesterday", surprise=1)
    assert json.loads(convert.original(row)) == {
        "event_id": "event-1",
        "run_id": "run-1",
        "type": "tool_call",
        "summary": "s",
        "timestamp": "yesterday",
        "surprise": 1,
    }


def test_a_row_without_a_date_says_that_its_time_is_a_neighbours() -> None:
    found = page_items.items([event(), event(timestamp="soon")], Ask(1, 50), NOON) or ()
    assert [item.is_dated for item in found] == [True, False]
    assert found[1].at == found[0].at
