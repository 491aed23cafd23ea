"""Events that are odd, huge or no events at all: each has its outcome, and the feed goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.kafka import read_topic
from support.stage import stage, wait_for
from support.work import HURRIED, Work, at_work

from bridge.clock import SECOND, Clock, utc
from bridge.missions.timestamps import micros

pytestmark = pytest.mark.parametrize("kafka", ["real"], indirect=True)

DEEP = "[" * 10_000 + "]" * 10_000
LONG = "7" * 5_000


@pytest.fixture(scope="module")
def work(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with at_work(kafka, tmp_path_factory.mktemp("work")) as made:
        yield made


def on_topic(work: Work, name: str) -> dict[str, Any]:
    """Return the event of that name."""
    scene = work.scene
    found = []
    with verdict.decoder(scene.registry_url, f"{scene.prefix}.events") as decode:
        for record in verdict.events_on_topic(scene.broker, scene.prefix):
            event = decode(record.value or b"")
            if f"{event['run_id']}/{event['event_id']}" == name:
                found.append(event)
    (event,) = found
    return dict(event)


@pytest.mark.parametrize(
    ("wish", "field", "expected"),
    [
        pytest.param({"type": "of next year"}, "type", "of next year", id="unknown type"),
        pytest.param(
            {"fields": {"mood": "good", "score": 1}},
            "extra",
            '{"mood":"good","score":1}',
            id="unknown fields",
        ),
        pytest.param({"fields": {"step_id": None}}, "step_id", None, id="null"),
        pytest.param({"fields": {"summary": None}}, "summary", "", id="no summary"),
        pytest.param(
            {"payload_text": f'{{"n":{LONG}}}'}, "payload", f'{{"n":{LONG}}}', id="5,000 digits"
        ),
        pytest.param(
            {"payload_text": r'{"s":"\ud800"}'}, "payload", r'{"s":"\ud800"}', id="lone surrogate"
        ),
        pytest.param({"ago": -3600}, "late", False, id="an hour in the future"),
    ],
)
def test_what_is_odd_is_published_as_it_is(
    work: Work, wish: dict[str, Any], field: str, expected: object
) -> None:
    (event,) = work.scene.insert(**wish)
    work.scene.insert(5)
    work.expect_exact()
    assert on_topic(work, f"{event['run_id']}/{event['event_id']}")[field] == expected


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        pytest.param("{:%Y-%m-%dT%H:%M:%S}.123456789Z", 123456, id="nanoseconds"),
        pytest.param("{:%Y-%m-%dT%H:%M:%S}.500000", 500000, id="no zone"),
        pytest.param("{:%Y-%m-%dT%H:%M:%S}+00:00", 0, id="no fraction"),
    ],
)
def test_timestamps_are_read_in_every_usual_form(work: Work, text: str, microseconds: int) -> None:
    at = datetime.fromtimestamp(Clock().now() / SECOND, UTC).replace(microsecond=microseconds)
    (event,) = work.scene.insert(fields={"timestamp": text.format(at)})
    work.scene.insert(5)
    work.expect_exact()
    assert on_topic(work, f"{event['run_id']}/{event['event_id']}")["timestamp"] == at


def test_events_of_1970_and_of_tomorrow_leave_the_frontier_alone(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path) as scene:
        now = Clock().now() / SECOND
        scene.insert(ago=now)
        scene.insert(ago=-86_400)
        (newest,) = scene.insert(ago=1)
        bridge = scene.run("--only", "events", **HURRIED).ready()
        verdict.expect_exact(scene, bridge)
        wait_for(lambda: bridge.source()["frontier"])
        assert bridge.source()["frontier"] == utc(micros(newest["timestamp"]))
        assert bridge.stop() == 0


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        pytest.param({"fields": {"timestamp": "yesterday"}}, "bad_timestamp", id="no time"),
        pytest.param({"fields": {"type": None}}, "no_event", id="null where text must be"),
        pytest.param({"fields": {"summary": "\ud800"}}, "no_event", id="lone surrogate"),
        pytest.param({"payload_text": DEEP}, "no_event", id="10,000 levels deep"),
        pytest.param({"payload_text": '{"n":NaN}'}, "no_event", id="NaN"),
        pytest.param({"item_text": "7"}, "no_event", id="a number"),
        pytest.param({"payload_text": f'{{"x":"{"x" * 5_000_000}"}}'}, "too_large", id="5 MB"),
    ],
)
def test_what_cannot_be_converted_becomes_one_dead_letter(
    work: Work, wish: dict[str, Any], reason: str
) -> None:
    scene = work.scene
    before = len(read_topic(scene.broker, f"{scene.prefix}.events.dlq"))
    (event,) = scene.insert(**wish)
    work.dead.add(f"{event['run_id']}/{event['event_id']}")
    scene.insert(5)
    work.expect_exact()
    letters = read_topic(scene.broker, f"{scene.prefix}.events.dlq")[before:]
    assert [dict(letter.headers)["bridge_error_class"].decode() for letter in letters] == [reason]
    assert work.bridge.peak_memory < 300
