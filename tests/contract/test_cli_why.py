"""`why` on a Kafka, with a bridge that carries out a command beside its events."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import delete_topics
from support.stage import Stage, stage, wait_for

EVENTS = 200


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A bridge that has published everything, logged an event by a command, and was stopped."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=EVENTS) as made:
        bridge = made.run().ready()
        wait_for(lambda: bridge.published >= EVENTS)
        some = made.events()[-1]
        made.command(
            "send",
            "log_event",
            *("--mission-id", some["mission_id"], "--run-id", some["run_id"]),
            *("--body", json.dumps({"type": "custom", "summary": "by a command"})),
            *("--command-id", "logged-1", "--wait", "60"),
        )
        wait_for(lambda: bridge.published > EVENTS)
        (started,) = made.command(
            "send",
            *("start_run", "--mission-id", some["mission_id"]),
            *("--command-id", "started-1", "--wait", "60", "--json"),
        ).splitlines()
        made.insert(1, run_id=json.loads(started)["run_id"])
        wait_for(lambda: bridge.published >= len(made.events()))
        assert bridge.stop() == 0
        yield made
    delete_topics(kafka.address, prefix)


def why(on: Stage, event: dict[str, Any], *arguments: str) -> Ended:
    return invoke("why", event["event_id"], *arguments, env=on.env())


def insert(on: Stage, **wish: Any) -> dict[str, Any]:
    """Let the API have another event, which no bridge reads."""
    made = on.api.call(lambda: on.simulator.control("events", {"count": 1, **wish}))
    event: dict[str, Any] = made["events"][0]
    return event


def test_an_event_is_followed_from_its_page_to_its_offset(on: Stage) -> None:
    event = on.events()[0]
    ended = why(on, event, "--json")
    (line,) = ended.lines
    (place,) = line["published"]
    assert (ended.code, line["command"], line["reasons"]) == (0, None, [])
    assert (place["topic"], place["run_id"]) == (f"{on.prefix}.events", event["run_id"])
    tail = ("--from", str(place["offset"]), "--no-follow", "--json")
    records = invoke("tail", "events", *tail, env=on.env()).lines
    at = [
        r for r in records if (r["partition"], r["offset"]) == (place["partition"], place["offset"])
    ]
    assert at[0]["value"]["event_id"] == event["event_id"]
    told = place["certificate"]
    assert str(told["batch"]) == place["origin"]["batch"]
    assert int(place["origin"]["page"]) in [one["page"] for one in told["sweep"]["windows"]]
    assert why(on, event, "--run", event["run_id"], "--json").lines == [line]


def test_people_are_told_in_sentences(on: Stage) -> None:
    event = on.events()[0]
    lines = why(on, event).out.splitlines()
    assert lines[0] == f"event {event['event_id']} of run {event['run_id']}"
    assert f"published: {on.prefix}.events, partition " in lines[1]
    assert lines[2].endswith(", in order")
    assert "found by: source default, sweep " in lines[3]
    assert "linked by: top" in lines[4]


def test_the_command_that_logged_an_event_is_named_with_its_result(on: Stage) -> None:
    event = on.events()[EVENTS]
    (line,) = why(on, event, "--json").lines
    assert line["command"]["command_id"] == "logged-1"
    assert line["command"]["status"] == "SUCCEEDED"
    assert "logged by command logged-1: SUCCEEDED" in why(on, event).out


def test_what_is_not_there_is_exit_1_with_a_reason(on: Stage) -> None:
    event = insert(on)
    ended = why(on, event)
    assert ended.code == 1
    assert f"event {event['event_id']} is not on Kafka" in ended.out
    assert "shown in the feed: page 1, 1000 events a page" in ended.out
    assert "the next poll reads it" in ended.out
    (line,) = why(on, event, "--run", event["run_id"], "--json").lines
    assert line["shown"] == {"feed": 1, "run": 1}
    unknown = why(on, {"event_id": "no-such"})
    assert (unknown.code, unknown.out.count("the API shows no such event")) == (1, 1)


def test_a_command_is_followed_to_the_event_that_it_logged(on: Stage) -> None:
    event = on.events()[EVENTS]
    ended = why(on, {"event_id": "logged-1"}, "--json")
    (line,) = ended.lines
    command = line["as_command"]
    assert (ended.code, line["published"], command["type"]) == (0, [], "log_event")
    assert [one["topic"] for one in command["sent"]] == [f"{on.prefix}.commands"]
    assert (command["ledger"]["kind"], command["ledger"]["attempts"]) == ("done", 1)
    assert command["ledger"]["of"] == command["sent"][0]["offset"]
    assert [one["result"]["status"] for one in command["results"]] == ["SUCCEEDED"]
    (logged,) = command["logged"]
    assert logged["event_id"] == event["event_id"]
    (place,) = why(on, event, "--json").lines[0]["published"]
    assert (logged["partition"], logged["offset"]) == (place["partition"], place["offset"])
    assert f"reading {on.prefix}.commands, " in ended.err


def test_a_command_is_followed_to_the_run_that_it_started_and_back(on: Stage) -> None:
    ended = why(on, {"event_id": "started-1"}, "--json")
    (line,) = ended.lines
    command = line["as_command"]
    (effect,) = [one for one in on.effects() if one.get("command_id") == "started-1"]
    assert command["run"]["run_id"] == command["run_id"] == effect["run_id"]
    shown = [event for event in on.events() if event["run_id"] == effect["run_id"]]
    assert command["run_events"]["count"] == len(shown) > 0
    (back,) = why(on, shown[0], "--json").lines
    assert (back["started_by"]["command_id"], back["as_command"]) == ("started-1", None)
    assert "its run was started by command started-1: SUCCEEDED" in why(on, shown[0]).out
    told = why(on, {"event_id": "started-1"}).out.splitlines()
    assert told[0] == "command started-1: start_run"
    assert f"run {effect['run_id']} bears its id in metadata.bridge_command_id" in told[4]
