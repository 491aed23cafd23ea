"""The tools of the command line against a Kafka, a registry and a running bridge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import delete_topics, list_topics, read_topic
from support.stage import COMMAND, Bridge, Stage, stage, wait_for

from bridge.kafka.partition import crc32, murmur2


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Topics, schemas and an API with fifty past events and no new ones."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=50) as made:
        yield made
    delete_topics(kafka.address, prefix)


@pytest.fixture(scope="module")
def bridge(on: Stage) -> Iterator[Bridge]:
    """A bridge that has published the past events."""
    running: Bridge = on.run().ready()
    wait_for(lambda: running.published >= len(on.events()))
    yield running
    assert running.stop() == 0


def tool(on: Stage, *arguments: str, stdin: str = "", **settings: str) -> Ended:
    return invoke(*arguments, env=on.env(**settings), stdin=stdin)


def mission_of(on: Stage) -> str:
    return str(on.events()[0]["mission_id"])


def test_topics_and_schemas_are_made_once_and_then_as_they_should_be(on: Stage) -> None:
    assert f"{on.prefix}.command-state" in list_topics(on.broker)
    planned = tool(on, "topics", "plan", "--json")
    assert (planned.code, planned.lines) == (0, [{"applied": False, "changes": []}])
    checked = tool(on, "schemas", "check", "--json")
    assert (checked.code, checked.lines) == (0, [{"problems": []}])
    registered = tool(on, "schemas", "register", "--json")
    assert registered.code == 0
    assert {subject["new"] for subject in registered.lines[0]["subjects"]} == {False}


def test_what_is_missing_is_planned_and_checked_and_not_made(on: Stage) -> None:
    other = f"{on.prefix}-other"
    planned = tool(on, "topics", "plan", "--json", BRIDGE_KAFKA__TOPIC_PREFIX=other)
    assert planned.code == 1
    created = {c["topic"] for c in planned.lines[0]["changes"] if c["action"] == "create"}
    assert f"{other}.events" in created
    checked = tool(on, "schemas", "check", "--json", BRIDGE_KAFKA__TOPIC_PREFIX=other)
    assert checked.code == 1
    assert any(f"{other}.events-value" in problem for problem in checked.lines[0]["problems"])
    assert not any(name.startswith(other) for name in list_topics(on.broker))


def test_a_topic_that_does_not_exist_is_said_to_and_not_made(on: Stage) -> None:
    ended = tool(on, "tail", "evnets", "--no-follow")
    assert ended.code == 78
    assert f"there is no topic {on.prefix}.evnets nor evnets" in ended.err
    assert not any("evnets" in name for name in list_topics(on.broker))


def test_a_command_that_nobody_carries_out_is_kept_and_the_waiting_ends(on: Stage) -> None:
    arguments = ("send", "start_run", "--mission-id", mission_of(on), "--command-id", "kept")
    ended = tool(on, *arguments, "--wait", "0.5")
    assert (ended.code, ended.out) == (75, "")
    assert "no result in 0.5 s: kept" in ended.err
    keys = {record.key for record in read_topic(on.broker, f"{on.prefix}.commands")}
    assert mission_of(on).encode() in keys


@pytest.mark.parametrize(("name", "partition"), [("murmur2", murmur2), ("crc32", crc32)])
def test_commands_go_where_the_bridge_expects_their_key(
    on: Stage, name: str, partition: object
) -> None:
    assert callable(partition)
    ids = [f"{name}-{number}" for number in range(12)]
    lines = "\n".join(
        json.dumps({"type": "create_mission", "command_id": one, "body": {"name": "m"}})
        for one in ids
    )
    settings = {"BRIDGE_COMMANDS__PARTITIONER": name}
    sent = tool(on, "send", "--file", "-", stdin=lines, **settings).lines
    expected = {one: partition(one.encode(), 6) for one in ids}
    assert {line["key"]: line["partition"] for line in sent} == expected
    there = read_topic(on.broker, f"{on.prefix}.commands")
    assert expected.items() <= {(r.key or b"").decode(): r.partition for r in there}.items()


def test_a_command_is_carried_out_and_its_result_told(on: Stage, bridge: Bridge) -> None:
    arguments = ("send", "start_run", "--mission-id", mission_of(on), "--command-id", "once")
    first = tool(on, *arguments, "--wait", "60", "--json")
    (started,) = first.lines
    assert (first.code, started["status"], started["final"]) == (0, "SUCCEEDED", True)
    second = tool(on, *arguments, "--wait", "60", "--json")
    (again,) = second.lines
    assert (second.code, again["status"], again["run_id"]) == (0, "DUPLICATE", started["run_id"])
    unknown = str(uuid.uuid4())
    where = ("--mission-id", mission_of(on), "--run-id", unknown)
    refused = tool(on, "send", "pause_run", *where, "--wait", "60")
    assert refused.code == 1
    assert refused.out.startswith("REJECTED pause_run ")


def test_a_file_of_commands_gives_a_line_for_each(on: Stage, bridge: Bridge) -> None:
    mission = mission_of(on)
    lines = "\n".join(
        json.dumps({"type": "start_run", "mission_id": mission, "command_id": f"line-{number}"})
        for number in range(20)
    )
    ended = tool(on, "send", "--file", "-", "--wait", "60", stdin=lines)
    assert ended.code == 0
    assert {result["command_id"]: result["status"] for result in ended.lines} == {
        f"line-{number}": "SUCCEEDED" for number in range(20)
    }


def test_a_topic_is_shown_decoded_from_its_start_to_its_end(on: Stage, bridge: Bridge) -> None:
    whole = ("--from", "earliest", "--no-follow")
    shown = tool(on, "tail", "events", *whole, "--json").lines
    past = {event["event_id"] for event in on.events()[:50]}
    assert past <= {record["value"]["event_id"] for record in shown}
    assert all(record["key"] == record["value"]["run_id"] for record in shown)
    assert shown[0]["headers"]["ce_specversion"] == "1.0"
    for_people = tool(on, "tail", "events", *whole, "--limit", "3").out.splitlines()
    assert len(for_people) == 3
    known = {record["value"]["event_id"]: record for record in shown}
    assert all(any(event in line for event in known) for line in for_people)
    full_name = tool(on, "tail", f"{on.prefix}.events", *whole, "--json", "--limit", "5").lines
    assert len(full_name) == 5
    assert all(record == known[record["value"]["event_id"]] for record in full_name)
    assert tool(on, "tail", "events", "--from", "latest", "--no-follow").out == ""


@pytest.fixture
def following(on: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """A `tail` that has shown a command and waits for more."""
    invoke("send", "start_run", "--mission-id", mission_of(on), env=on.env())
    with subprocess.Popen(
        [COMMAND, "tail", "commands", "--from", "earliest"],
        env=on.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        try:
            yield process
        finally:
            process.kill()


def test_an_interrupt_ends_following_cleanly(following: subprocess.Popen[bytes]) -> None:
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=60)
    assert (following.returncode, said) == (0, b"")


def test_following_ends_cleanly_when_nobody_reads_on(
    on: Stage, following: subprocess.Popen[bytes]
) -> None:
    assert following.stdout is not None
    assert following.stderr is not None
    following.stdout.close()
    tool(on, "send", "start_run", "--mission-id", mission_of(on))
    assert following.wait(60) == 0
    assert following.stderr.read() == b""


def test_records_are_shown_from_a_time_on_and_of_one_run(on: Stage, bridge: Bridge) -> None:
    event = on.events()[0]
    arguments = ("tail", "events", "--no-follow", "--json")
    of_run = [one["event_id"] for one in on.events() if one["run_id"] == event["run_id"]]
    told = tool(on, *arguments, "--from", "2020-01-01T00:00:00Z", "--run", event["run_id"])
    assert sorted(line["value"]["event_id"] for line in told.lines) == sorted(of_run)
    assert tool(on, *arguments, "--from", "2199-01-01T00:00:00Z").out == ""


def test_an_offset_beyond_the_end_is_said_to_be(on: Stage, bridge: Bridge) -> None:
    told = tool(on, "tail", "events", "--no-follow", "--from", "999999")
    assert (told.code, told.out) == (0, "")
    assert "offset 999999 is not there yet: the longest partition ends at " in told.err
