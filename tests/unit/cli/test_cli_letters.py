"""Dead letters without a broker: what they say, which are meant, and how commands go back."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from aiokafka import ConsumerRecord

from bridge.avro.headers import dead_letter
from bridge.cli.commands.letters import (
    REPLAYS,
    Letter,
    LetterPlace,
    Wanted,
    as_line,
    as_object,
    put_back,
    refusal,
)
from bridge.commands.intake import LARGEST_COMMAND
from bridge.commands.ledger.records import Records
from bridge.commands.model import Received
from bridge.errors import InvalidRecord
from bridge.kafka.partition import Partitioner, crc32, murmur2
from bridge.kafka.producer import Record
from bridge.source.writing.publish import stub

COMMANDS = "missions.commands"
KEY = b"8a1d3c52-0c55-4a6f-8b62-1d2f7a9e4c02"
MILLIS = 1_769_817_600_123
"""2026-01-31T00:00:00.123Z"""


def bury(
    value: bytes = b"\0\0\0\0\1",
    key: bytes | None = KEY,
    headers: Any = (),
    partition: int = 3,
    reason: str = "unknown_schema",
) -> Record:
    """Return the letter that the bridge writes for a record of its commands."""
    records = Records(_Topics(), None, partition)  # type: ignore[arg-type]
    records.counts = {"missions.commands.dlq": 1}
    received = Received(partition, 120, key, value, headers, received_at=7)
    return records.dead_letter(received, InvalidRecord(reason, "not Avro"), now=7)


class _Topics:
    def topic(self, short: str) -> str:
        return f"missions.{short}"


def letter(record: Record | None = None, **about: Any) -> Letter:
    """Return a letter as it is read."""
    written = record or bury(**about)
    return Letter.of(
        ConsumerRecord(
            topic=written.topic,
            partition=0,
            offset=12,
            timestamp=MILLIS,
            timestamp_type=0,
            key=written.key,
            value=written.value,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            headers=written.headers,
        )
    )


def event_letter(value: bytes) -> Letter:
    why = dead_letter(stage="VALUE_CONVERTER", error=InvalidRecord("no_event", "x"), failed_at=7)
    headers = (*why, ("bridge_event_digest", b"00" * 16))
    return letter(Record("missions.events.dlq", 0, KEY, value, headers))


def test_a_letter_says_what_it_is_where_it_is_from_and_why() -> None:
    assert as_object(letter(value=b"abc")) == {
        "topic": "missions.commands.dlq",
        "partition": 0,
        "offset": 12,
        "written": MILLIS * 1000,
        "key": KEY.decode(),
        "reason": "unknown_schema",
        "message": "not Avro",
        "origin": {"topic": COMMANDS, "partition": 3, "offset": 120},
        "length": 3,
        "stub": False,
        "replays": 0,
    }
    line = as_line(letter(value=b"abc"))
    assert line.startswith("2026-01-31T00:00:00.123Z  0:12 ")
    assert "missions.commands-3:120" in line
    assert line.endswith("unknown_schema: not Avro")


def test_what_is_put_back_is_what_was_read_with_a_mark() -> None:
    headers = (("correlation_id", b"7"), ("x", b""), ("x", b"twice"))
    there = letter(value=b"abc", headers=headers)
    assert refusal(there, COMMANDS, 6, again=False) is None
    expected = Record(COMMANDS, murmur2(KEY, 6), KEY, b"abc", (*headers, (REPLAYS, b"1")))
    assert put_back(there, COMMANDS, murmur2, 6) == expected


def test_the_bridge_keeps_the_mark_so_that_a_letter_goes_back_once() -> None:
    first = put_back(letter(), COMMANDS, murmur2, 6)
    second = letter(headers=first.headers)
    assert second.replays == 1
    assert "failed again although it was put back" in (
        refusal(second, COMMANDS, 6, again=False) or ""
    )
    assert refusal(second, COMMANDS, 6, again=True) is None
    assert put_back(second, COMMANDS, murmur2, 6).headers == ((REPLAYS, b"2"),)
    assert as_line(second).endswith("replayed 1x")


@pytest.mark.parametrize(
    ("partitioner", "key", "partition"),
    [
        (murmur2, KEY, murmur2(KEY, 6)),
        (crc32, KEY, crc32(KEY, 6)),
        (None, KEY, 1),
        (murmur2, None, 1),
    ],
)
def test_a_command_goes_where_its_key_belongs(
    partitioner: Partitioner | None, key: bytes | None, partition: int
) -> None:
    assert put_back(letter(key=key, partition=1), COMMANDS, partitioner, 6).partition == partition


def test_what_cannot_go_back_is_refused_with_the_reason() -> None:
    large = letter(value=b"x" * 1_000_000)
    assert (large.length, len(large.record.value or b"")) == (1_000_000, 4096)
    assert "a stub" in (refusal(large, COMMANDS, 6, again=True) or "")
    assert "not from other.commands" in (refusal(letter(), "other.commands", 6, again=True) or "")
    assert "was on 3" in (refusal(letter(), COMMANDS, 3, again=True) or "")
    foreign = letter(Record("missions.commands.dlq", 0, None, b"", ()))
    assert (foreign.reason, foreign.origin, foreign.replays) == ("-", None, 0)
    assert "does not say where from" in (refusal(foreign, COMMANDS, 6, again=True) or "")


@pytest.mark.parametrize("reason", ["null_value", "wrong_magic", "bad_header", "unreadable"])
def test_what_must_fail_again_is_never_put_back(reason: str) -> None:
    for again in (False, True):
        said = refusal(letter(reason=reason), COMMANDS, 6, again=again)
        assert "must fail again" in (said or "")
    too_long = letter(reason="too_large", value=bytes(LARGEST_COMMAND + 1))
    assert "393216 bytes at most" in (refusal(too_long, COMMANDS, 6, again=True) or "")


@pytest.mark.parametrize("reason", ["truncated", "trailing_bytes", "undecodable"])
def test_what_fails_again_as_long_as_schemas_are_as_they_were_needs_to_be_forced(
    reason: str,
) -> None:
    assert "unless its schema" in (refusal(letter(reason=reason), COMMANDS, 6, again=False) or "")
    assert refusal(letter(reason=reason), COMMANDS, 6, again=True) is None


def test_the_largest_command_that_is_taken_can_go_there_and_back() -> None:
    record = put_back(letter(value=b"x" * LARGEST_COMMAND), COMMANDS, murmur2, 6)
    assert len(record.value or b"") == LARGEST_COMMAND


def test_letters_of_events_have_no_origin_and_are_known_as_stubs() -> None:
    assert event_letter(b'{"event_id":7}').length is None
    assert event_letter(b"\xff").length is None
    assert event_letter(stub(b"x" * 2_000_000)).length == 2_000_000
    assert event_letter(b"{}").origin is None


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(frozenset({"unknown_schema", "truncated"})), True),
        (Wanted(frozenset({"truncated"})), False),
        (Wanted(since=MILLIS * 1000), True),
        (Wanted(since=MILLIS * 1000 + 1), False),
        (Wanted(key=KEY.decode()), True),
        (Wanted(key="other"), False),
        (Wanted(origin=LetterPlace(None, 3, None)), True),
        (Wanted(origin=LetterPlace(None, 3, 120)), True),
        (Wanted(origin=LetterPlace(COMMANDS, 3, 120)), True),
        (Wanted(origin=LetterPlace(COMMANDS, 3, 121)), False),
        (Wanted(origin=LetterPlace(None, 4, None)), False),
        (Wanted(origin=LetterPlace("other", 3, None)), False),
        (Wanted(frozenset({"unknown_schema"}), key="other"), False),
    ],
)
def test_a_letter_is_meant_if_it_fits_all_that_is_said(wanted: Wanted, *, fits: bool) -> None:
    assert wanted.fits(letter()) is fits


@pytest.mark.parametrize("text", ["3", "3:120", "missions.commands-3:120", "a-1-3"])
def test_places_are_read_as_they_are_written(text: str) -> None:
    assert str(LetterPlace.parse("--origin", text)) == text


@pytest.mark.parametrize("text", ["", "x", "3:", ":3", "-3", "3:x", "1:2:3"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        LetterPlace.parse("--origin", text)
