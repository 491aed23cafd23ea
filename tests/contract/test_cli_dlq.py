"""`dlq` on a Kafka, with a bridge that buries what it cannot read."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from functools import partial

import pytest
from support import commands
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import Seen, Sent, delete_topics, read_topic, write_topic
from support.stage import Bridge, Stage, stage, wait_for

from bridge.avro.schema import load_schemas
from bridge.cli.commands.letters import REPLAYS
from bridge.kafka.partition import murmur2

JUNK = b"no Avro \xff"
LARGE = b"large" * 190_000
MALFORMED = '{"event_id":7,"price":1.10}'


@pytest.fixture
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Topics, schemas and an API with a few past events, one of which is none."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=10) as made:
        made.insert(item_text=MALFORMED)
        yield made
    delete_topics(kafka.address, prefix)


@pytest.fixture
def bridge(on: Stage) -> Bridge:
    return on.run().ready()


def dlq(on: Stage, *arguments: str) -> Ended:
    return invoke("dlq", *arguments, env=on.env())


def letters(on: Stage, side: str = "commands") -> list[Seen]:
    return read_topic(on.broker, f"{on.prefix}.{side}.dlq")


def bury(on: Stage, bridge: Bridge, *records: Sent) -> list[Seen]:
    """Let the bridge bury records; return their letters."""
    before = len(letters(on))
    write_topic(on.broker, f"{on.prefix}.commands", records)
    wait_for(lambda: len(letters(on)) >= before + len(records))
    commands.expect_all_done(on, bridge)
    return letters(on)[before:]


def late_command(on: Stage, command_id: str) -> tuple[Sent, str]:
    """Return a command whose schema is not registered yet, and that schema."""
    order = commands.start(str(on.events()[0]["mission_id"])) | {"command_id": command_id}
    (value,) = commands.to_bytes(on, [order])
    newer = json.loads(load_schemas()["mission_command"].text)
    newer["fields"].append({"name": "note", "type": ["null", "string"], "default": None})
    late = (len(load_schemas()) + 1).to_bytes(4, "big")  # the registry counts them up
    headers = (("correlation_id", b"c-7"),)
    key = order["mission_id"].encode()
    return Sent(key, b"\0" + late + value[5:] + b"\0", headers), json.dumps(newer)


def test_letters_are_listed_filtered_and_counted(on: Stage, bridge: Bridge) -> None:
    keys = [uuid.uuid4().hex.encode() for _ in range(3)]
    junk = bury(on, bridge, *(Sent(key, JUNK) for key in keys))
    bury(on, bridge, Sent(b"k", None))
    listed = dlq(on, "list", "--json")
    *lines, counts = listed.lines
    assert (listed.code, counts) == (
        0,
        {"letters": 4, "reasons": {"wrong_magic": 3, "null_value": 1}},
    )
    assert {line["key"] for line in lines} == {key.decode() for key in keys} | {"k"}
    for line in lines:
        assert line["origin"]["topic"] == f"{on.prefix}.commands"
        assert line["origin"]["partition"] == murmur2(line["key"].encode(), 6)
    people = dlq(on, "list").out
    assert f"4  dead letters on {on.prefix}.commands.dlq" in people
    assert "no Avro" not in people

    def chosen(*arguments: str) -> set[str]:
        return {line["key"] for line in dlq(on, "list", *arguments, "--json").lines[:-1]}

    assert chosen("--reason", "null_value") == {"k"}
    assert chosen("--reason", "null_value", "--reason", "wrong_magic") == {
        *map(bytes.decode, keys),
        "k",
    }
    assert chosen("--key", keys[0].decode()) == {keys[0].decode()}
    assert chosen("--since", "2199-01-31T00:00:00Z") == set()
    first = dict(junk[0].headers)
    place = "-".join(first[f"__connect.errors.{part}"].decode() for part in ("topic", "partition"))
    offset = first["__connect.errors.offset"].decode()
    assert chosen("--origin", f"{place}:{offset}") == {(junk[0].key or b"").decode()}


def test_one_letter_is_shown_with_its_headers_and_bytes(on: Stage, bridge: Bridge) -> None:
    (letter,) = bury(on, bridge, Sent(b"k", JUNK, (("x", b"y"),)))
    position = f"{letter.partition}:{letter.offset}"
    shown = dlq(on, "show", position)
    assert shown.code == 0
    assert "wrong_magic: " in shown.out
    assert "  x: y\n" in shown.out
    assert "hex: 6e 6f 20 41" in shown.out
    assert "value: cannot be decoded: not in the wire format" in shown.out
    (line,) = dlq(on, "show", position, "--json").lines
    assert (line["headers"]["x"], line["value"]) == ("y", None)
    missing = dlq(on, "show", "0:99")
    assert (missing.code, missing.out) == (1, "")
    assert "there is no dead letter 0:99" in missing.err
    assert dlq(on, "show", "0").code == 64


def test_a_letter_of_an_event_is_shown_and_never_put_back(on: Stage, bridge: Bridge) -> None:
    (letter,) = wait_for(lambda: letters(on, "events"))
    assert "no_event: " in dlq(on, "list", "events").out
    shown = dlq(on, "show", f"{letter.partition}:{letter.offset}", "events")
    assert f"value: {MALFORMED}" in shown.out
    refused = dlq(on, "replay", "events")
    assert (refused.code, refused.out) == (64, "")
    assert "offsets rewind" in refused.err


def test_a_command_whose_schema_came_too_late_is_put_back_and_done_once(
    on: Stage, bridge: Bridge
) -> None:
    late, schema = late_command(on, "late")
    (letter,) = bury(on, bridge, late)
    assert (letter.key, letter.value) == (late.key, late.value)
    assert dlq(on, "list", "--reason", "unknown_schema", "--json").lines[-1]["letters"] == 1
    assert register(on, schema).to_bytes(4, "big") == (late.value or b"")[1:5]
    dry = dlq(on, "replay", "--dry-run")
    assert (dry.code, "1 would be put back, 0 left out" in dry.out) == (0, True)
    assert len(read_topic(on.broker, f"{on.prefix}.commands")) == 1
    for count in (1, 2):
        done = dlq(on, "replay", "--reason", "unknown_schema")
        assert (done.code, "1 put back, 0 left out" in done.out) == (0, True)
        commands.expect_all_done(on, bridge)
        wait_for(partial(has_results, on, count))
    again = read_topic(on.broker, f"{on.prefix}.commands")[1:]
    for record in again:
        assert (record.partition, record.key, record.value) == (
            again[0].partition,
            late.key,
            late.value,
        )
        assert record.headers == (*late.headers, (REPLAYS, b"1"))
    told = invoke("why", "late", env=on.env()).out
    assert "dead letter that names it: unknown_schema" in told
    assert told.count("  sent: ") == 3  # the first one can be read by now
    first, second = commands.results(on)
    assert (first["status"], first["final"]) == ("SUCCEEDED", True)
    assert (second["status"], second["run_id"]) == ("DUPLICATE", first["run_id"])
    assert len(on.effects()) == 1
    assert len(letters(on)) == 1


def has_results(on: Stage, count: int) -> bool:
    return len(commands.results(on)) == count


def register(on: Stage, schema: str) -> int:
    """Register a schema of the commands and return its id."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{on.registry_url}/subjects/{on.prefix}.commands-value/versions",
        json.dumps({"schema": schema}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return int(json.loads(answer.read())["id"])


def test_what_fails_again_is_not_put_back_a_second_time(on: Stage, bridge: Bridge) -> None:
    bury(on, bridge, late_command(on, "never registered")[0])
    done = dlq(on, "replay", "--json")
    (line,) = done.lines
    assert (done.code, line["left_out"], line["dry_run"]) == (0, None, False)
    wait_for(lambda: len(letters(on)) == 2)
    done = dlq(on, "replay", "--limit", "2")
    assert done.code == 1
    assert "0:0 put back on " in done.out
    assert " left out: it failed again although it was put back" in done.out
    wait_for(lambda: len(letters(on)) == 3)
    forced = dlq(on, "replay", "--again", "--json").lines
    assert [line["left_out"] for line in forced] == [None, None, None]
    wait_for(lambda: len(letters(on)) == 6)
    replays = [dict(letter.headers).get(REPLAYS) for letter in letters(on)]
    assert replays == [None, b"1", b"1", b"1", b"2", b"2"]


def test_what_must_fail_again_is_left_out(on: Stage, bridge: Bridge) -> None:
    bury(on, bridge, Sent(b"k", b'{"command_id":"c1","type":"start_run"}'))
    (refused,) = commands.results(on)
    assert (refused["command_id"], refused["status"]) == ("c1", "REJECTED")
    assert refused["error"]["code"] == "not_avro"
    done = dlq(on, "replay", "--dry-run", "--again")
    assert (done.code, "0 would be put back, 1 left out" in done.out) == (1, True)
    assert "left out: it must fail again: it is no Avro in the wire format" in done.out


def test_a_stub_is_shown_as_one_and_left_out(on: Stage, bridge: Bridge) -> None:
    (letter,) = bury(on, bridge, Sent(b"k", LARGE))
    assert letter.value == LARGE[:4096]
    shown = dlq(on, "show", f"{letter.partition}:{letter.offset}").out
    assert f"stub: it had {len(LARGE)} bytes" in shown
    done = dlq(on, "replay", "--again")
    assert (done.code, "0 put back, 1 left out" in done.out) == (1, True)
    assert "a stub" in done.out
    assert len(read_topic(on.broker, f"{on.prefix}.commands")) == 1
