"""`audit` on a Kafka: it finds what was planted in a copy of the topic, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import Seen, Sent, create_topics, delete_topics, write_topic
from support.stage import Stage, stage, wait_for

EVENTS = 400


@dataclass(frozen=True)
class Scene:
    """A source that has published everything and was stopped; `records` are on its topic."""

    on: Stage
    records: Sequence[Seen]
    events: Sequence[dict[str, Any]]
    """As the records hold them, in the same order."""

    def audit(self, *arguments: str) -> Ended:
        return invoke("audit", *arguments, env=self.on.env())

    def report(self, *arguments: str) -> Any:
        """What `audit --json` prints."""
        (line,) = self.audit("--json", *arguments).lines
        return line

    def copy(self, records: Sequence[Sent]) -> str:
        """Write records to another topic."""
        name = f"{self.on.prefix}.copy-{uuid.uuid4().hex[:8]}"
        create_topics(self.on.broker, {name: 4})
        write_topic(self.on.broker, name, records)
        return name

    def old(self, *numbers: int) -> list[int]:
        """Return where events are that happened hours ago, the oldest is number 0."""
        order = sorted(range(EVENTS), key=lambda at: self.events[at]["timestamp"])
        return [order[number] for number in numbers]


def sent(record: Seen) -> Sent:
    return Sent(record.key, record.value, record.headers)


@pytest.fixture(scope="module")
def scene(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=EVENTS) as on:
        bridge = on.run("--only", "events").ready()
        wait_for(lambda: bridge.published >= EVENTS)
        wait_for(lambda: bridge.source()["complete_until"])
        assert bridge.stop() == 0
        records = verdict.events_on_topic(on.broker, prefix)
        with verdict.decoder(on.registry_url, f"{prefix}.events") as decode:
            yield Scene(on, records, [decode(record.value or b"") for record in records])
    delete_topics(kafka.address, prefix)


def test_a_topic_as_it_should_be_has_no_difference(scene: Scene) -> None:
    ended = scene.audit("--json")
    (report,) = ended.lines
    assert (ended.code, report["differences"]) == (0, [])
    assert (report["shown"], report["records"], report["pending"]) == (EVENTS, EVENTS, 0)
    copied = scene.report("--topic", scene.copy([sent(one) for one in scene.records]))
    assert copied == {**report, "topic": copied["topic"]}
    assert scene.audit().out.endswith("no difference\n")


def test_what_was_planted_in_a_copy_is_found_and_nothing_else(scene: Scene) -> None:
    removed, doubled, changed = scene.old(5, 50, 100)
    records = [sent(one) for one in scene.records]
    value, summary = records[changed].value, scene.events[changed]["summary"].encode()
    assert value is not None
    assert summary in value
    altered = value.replace(summary, summary[:-1] + b"#")
    records[changed] = Sent(records[changed].key, altered, records[changed].headers)
    records.append(records[doubled])
    del records[removed]
    ended = scene.audit("--json", "--topic", scene.copy(records))
    (report,) = ended.lines
    assert ended.code == 1
    planted = {"missing": removed, "doubled": doubled, "changed": changed}
    assert {one["kind"]: one["event_id"] for one in report["differences"]} == {
        kind: scene.events[at]["event_id"] for kind, at in planted.items()
    }
    assert len(report["differences"]) == len(planted)


def test_people_are_told_which_event_is_missing(scene: Scene) -> None:
    (removed,) = scene.old(7)
    records = [sent(one) for at, one in enumerate(scene.records) if at != removed]
    ended = scene.audit("--topic", scene.copy(records))
    event = scene.events[removed]
    assert ended.code == 1
    assert f"   missing  {event['run_id']}/{event['event_id']}  " in ended.out
    assert ended.out.endswith("1 difference\n")


def test_what_is_newer_than_the_watermark_is_pending(scene: Scene) -> None:
    (newest,) = scene.old(EVENTS - 1)
    records = [sent(one) for at, one in enumerate(scene.records) if at != newest]
    ended = scene.audit("--json", "--topic", scene.copy(records))
    (report,) = ended.lines
    assert (ended.code, report["pending"], report["differences"]) == (0, 1, [])


def test_one_run_or_the_time_since_is_compared_alone(scene: Scene) -> None:
    removed, later = scene.old(5, 200)
    records = [sent(one) for at, one in enumerate(scene.records) if at != removed]
    copy = scene.copy(records)
    run = scene.events[removed]["run_id"]
    report = scene.report("--topic", copy, "--run", run)
    of_run = [one for one in scene.events if one["run_id"] == run]
    assert (report["shown"], report["records"]) == (len(of_run), len(of_run) - 1)
    assert [one["kind"] for one in report["differences"]] == ["missing"]
    since = scene.events[later]["timestamp"]
    report = scene.report("--topic", copy, "--since", since.isoformat())
    newer = [one for one in scene.events if one["timestamp"] >= since]
    assert (report["shown"], report["records"]) == (len(newer), len(newer))
    assert report["differences"] == []


def test_what_the_api_no_longer_shows_is_counted_and_no_difference(scene: Scene) -> None:
    mission = next(one["mission_id"] for one in scene.on.events())
    gone = sum(one["mission_id"] == mission for one in scene.on.events())
    scene.on.api.call(
        lambda: scene.on.simulator.control("delete-missions", {"mission_ids": [mission]})
    )
    ended = scene.audit("--json")
    (report,) = ended.lines
    assert (ended.code, report["not_shown"], report["differences"]) == (0, gone, [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--since", "yesterday"), 64, "--since must be a timestamp"),
        (("--source", "other"), 64, "--source must be one of default"),
        (("--run", "0b5a3b5e-7a0c-4f4e-9f57-2f1d6b1c9a11"), 64, "checkpoint knows 0b5a3b5e"),
        (("--topic", "evnets"), 78, "there is no topic"),
    ],
)
def test_a_mistake_is_told(scene: Scene, arguments: tuple[str, ...], code: int, words: str) -> None:
    ended = scene.audit(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
