"""`offsets` on a Kafka: where a source stands, its events once more, and another beginning."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import Seen, create_topics, delete_topics, read_topic
from support.stage import Stage, stage, wait_for

EVENTS = 400


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A source that has published everything and was stopped."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=EVENTS) as made:
        publish_all(made, EVENTS)
        yield made
    delete_topics(kafka.address, prefix)


def publish_all(on: Stage, count: int) -> None:
    bridge = on.run("--only", "events").ready()
    wait_for(lambda: bridge.published >= count)
    wait_for(lambda: bridge.source()["complete_until"])
    assert bridge.stop() == 0


def offsets(on: Stage, *arguments: str) -> Ended:
    return invoke("offsets", *arguments, env=on.env())


def shown(on: Stage) -> dict[str, Any]:
    (line,) = offsets(on, "show", "--json").lines
    found: dict[str, Any] = line["sources"][0]
    return found


def newer_half(on: Stage) -> tuple[str, set[str]]:
    """A time, and the events since then."""
    events = sorted(on.events(), key=lambda one: str(one["timestamp"]))
    half = events[len(events) // 2 :]
    return half[0]["timestamp"], {one["event_id"] for one in half}


def ids(on: Stage, records: list[Seen]) -> list[str]:
    with verdict.decoder(on.registry_url, f"{on.prefix}.events") as decode:
        return [decode(record.value or b"")["event_id"] for record in records]


def test_a_position_is_shown(on: Stage) -> None:
    (line,) = offsets(on, "show", "--json").lines
    (source,) = line["sources"]
    assert (source["published"], source["remembered"]) == (EVENTS, EVENTS)
    newest = max(datetime.fromisoformat(one["timestamp"]) for one in on.events())
    assert source["frontier"] == round(newest.astimezone(UTC).timestamp() * 1e6)
    assert source["complete_until"] == source["frontier"] - source["lateness"]
    assert sum(source["runs"].values()) == len({one["run_id"] for one in on.events()})
    records = verdict.events_on_topic(on.broker, on.prefix)
    assert sum(one["end"] > one["begin"] for one in line["partitions"]) == len(
        {record.partition for record in records}
    )
    for_people = offsets(on, "show").out
    assert f"published       {EVENTS}, 0 of them late" in for_people
    assert f"{on.prefix}.events-0: offsets 0 to " in for_people


def test_a_dry_run_says_how_many_events_on_which_pages(on: Stage) -> None:
    since, half = newer_half(on)
    ended = offsets(on, "rewind", "--to", since, "--dry-run", "--json")
    (line,) = ended.lines
    assert (ended.code, line["events"]) == (0, len(half))
    assert line["pages"] == {"size": 1000, "first": 1, "last": 1}
    assert len(verdict.events_on_topic(on.broker, on.prefix)) == EVENTS


def test_events_are_replayed_to_another_topic_or_the_same_one(on: Stage) -> None:
    since, half = newer_half(on)
    before = shown(on)
    copy = f"{on.prefix}.copy"
    create_topics(on.broker, {copy: 3})
    ended = offsets(on, "rewind", "--to", since, "--topic", copy, "--json")
    (line,) = ended.lines
    assert (ended.code, line["events"], line["left_out"]) == (0, len(half), 0)
    records = read_topic(on.broker, copy)
    assert sorted(ids(on, records)) == sorted(half)
    header = ("bridge_replay_id", line["replay_id"].encode())
    assert all(header in record.headers for record in records)
    assert invoke("audit", "--topic", copy, "--since", since, env=on.env()).code == 0
    again = offsets(on, "rewind", "--to", since)
    assert again.out.startswith(f"{len(half)} events written once more, with header bridge_repl")
    assert len(verdict.events_on_topic(on.broker, on.prefix)) == EVENTS + len(half)
    assert shown(on) == before
    audited = invoke("audit", "--json", env=on.env())
    assert (audited.code, audited.lines[0]["replays"]) == (0, len(half))


def test_a_topic_that_does_not_exist_gets_no_replay(on: Stage) -> None:
    ended = offsets(on, "rewind", "--to", newer_half(on)[0], "--topic", "evnets")
    assert ended.code == 78
    assert "there is no topic" in ended.err


@pytest.mark.parametrize("time", ["yesterday", "earliest"])
def test_a_rewind_needs_a_timestamp(on: Stage, time: str) -> None:
    ended = offsets(on, "rewind", "--to", time)
    assert ended.code == 64
    assert "--to must be a timestamp" in ended.err


def test_a_reset_says_what_follows_and_waits_for_a_yes(on: Stage) -> None:
    before = shown(on)
    ended = offsets(on, "reset", "--to", "earliest")
    assert ended.code == 64
    assert f"come twice; {EVENTS} are published" in ended.out
    assert "--yes does it" in ended.err
    assert shown(on) == before


def test_after_a_reset_the_bridge_begins_there(on: Stage) -> None:
    since, half = newer_half(on)
    before = len(verdict.events_on_topic(on.broker, on.prefix))
    ended = offsets(on, "reset", "--to", since, "--yes")
    assert (ended.code, ended.err) == (0, "")
    assert (shown(on)["published"], shown(on)["frontier"]) == (0, None)
    publish_all(on, len(half))
    records = verdict.events_on_topic(on.broker, on.prefix)
    assert len(records) == before + len(half)
    ended = invoke("audit", "--json", "--since", since, env=on.env())
    (report,) = ended.lines
    assert ended.code == 1, "they were published twice, and audit says so"
    kinds = {one["event_id"] for one in report["differences"] if one["kind"] == "doubled"}
    assert kinds == half


def test_a_checkpoint_moves_to_a_new_address_unless_a_bridge_works_on_it(on: Stage) -> None:
    """Here the account is shown, so that `run` would do it as well."""
    bridge = on.run("--only", "events").ready()
    wait_for(lambda: bridge.source()["state"] == "tailing")
    env = on.env()
    env["TELNYX_BASE_URL"] = env["TELNYX_BASE_URL"].replace("127.0.0.1", "localhost")
    ended = invoke("offsets", "move", "--yes", env=env)
    assert ended.code == 78
    assert "source default is worked on by" in ended.err
    assert bridge.stop() == 0
    before = shown(on)
    asked = invoke("offsets", "move", env=env)
    assert (asked.code, "--yes does it" in asked.err) == (64, True)
    assert invoke("offsets", "move", "--yes", env=env).code == 0
    (line,) = invoke("offsets", "show", "--json", env=env).lines
    assert line["sources"] == [before]
    (refused,) = offsets(on, "show", "--json").lines
    assert "`mission-bridge offsets move`" in refused["sources"][0]["refused"]
    assert invoke("offsets", "move", "--yes", env=on.env()).code == 0
