from __future__ import annotations

import pytest

from bridge.avro.headers import cloud_event, dead_letter
from bridge.errors import InvalidRecord


def test_cloud_events_in_binary_mode() -> None:
    headers = cloud_event(
        id="run/evt",
        source="https://api.telnyx.com/v2",
        type="com.telnyx.mission.event.tool_call",
        time=1_773_074_367_132_341,
        subject="run",
    )
    assert dict(headers) == {
        "content-type": b"application/avro",
        "ce_specversion": b"1.0",
        "ce_id": b"run/evt",
        "ce_source": b"https://api.telnyx.com/v2",
        "ce_type": b"com.telnyx.mission.event.tool_call",
        "ce_time": b"2026-03-09T16:39:27.132341Z",
        "ce_subject": b"run",
    }


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, b"1970-01-01T00:00:00.000000Z"),
        (-1, b"1969-12-31T23:59:59.999999Z"),
        (-62_135_596_800_000_000, b"0001-01-01T00:00:00.000000Z"),
        (253_402_300_799_999_999, b"9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_have_six_decimals_and_four_digits_of_year(time: int, text: bytes) -> None:
    headers = dict(cloud_event(id="i", source="s", type="t", time=time, subject="r"))
    assert headers["ce_time"] == text


@pytest.mark.parametrize(("id_", "time"), [("\ud800", 0), ("i", 2**62)])
def test_what_no_header_can_say_is_an_invalid_record(id_: str, time: int) -> None:
    with pytest.raises(InvalidRecord) as caught:
        cloud_event(id=id_, source="s", type="t", time=time, subject="r")
    assert caught.value.reason == "unencodable"


def test_a_dead_letter_names_its_origin_as_kafka_connect_does() -> None:
    headers = dead_letter(
        stage="VALUE_CONVERTER",
        error=InvalidRecord("wrong_magic", "the first byte is 0x01, not 0"),
        failed_at=0,
        topic="missions.commands",
        partition=0,
        offset=0,
    )
    assert dict(headers) == {
        "__connect.errors.topic": b"missions.commands",
        "__connect.errors.partition": b"0",
        "__connect.errors.offset": b"0",
        "__connect.errors.stage": b"VALUE_CONVERTER",
        "__connect.errors.exception.class.name": b"bridge.errors.InvalidRecord",
        "__connect.errors.exception.message": b"the first byte is 0x01, not 0",
        "bridge_error_class": b"wrong_magic",
        "bridge_failed_at": b"1970-01-01T00:00:00.000000Z",
    }


def test_a_dead_letter_that_did_not_come_from_kafka_and_says_too_much() -> None:
    headers = dict(
        dead_letter(stage="VALUE_CONVERTER", error=ValueError("\ud800" * 5_000), failed_at=0)
    )
    assert not headers.keys() & {f"__connect.errors.{n}" for n in ("topic", "partition", "offset")}
    assert headers["bridge_error_class"] == b"ValueError"
    assert len(headers["__connect.errors.exception.message"]) < 10_000
