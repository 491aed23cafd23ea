"""What is refused before anything is sent: hostile bytes, mistaken fields, wrong ways, policy."""

from __future__ import annotations

import pytest
from commands_bench import COMMANDS, LETTERS, RESULTS, STATE, Make, missions, start, until
from commands_world import MISSION

from bridge.errors import Undecodable
from bridge.kafka.partition import murmur2


def murmur2_of(key: str, count: int = 6) -> int:
    return murmur2(key.encode(), count)


HOSTILE = {
    "null_value": None,
    "wrong_magic": b"\x07random bytes",
    "truncated": b"\x00\x00",
    "unknown_schema": b"\x00\x7f\x00\x00\x01 and more",
    "trailing_bytes": b"more",
    "undecodable": b"less",
}


async def test_misrouted_commands_are_refused_before_anything_else(make: Make) -> None:
    bench = await make(partitions=6)
    bench.begin()
    right = bench.send(start("c1"))
    await bench.results(1)
    wrong = (murmur2_of(MISSION) + 1) % 6
    bench.send(start("c2"), partition=wrong)
    bench.send(start("c3"), key=b"c3", partition=murmur2_of(MISSION))
    bench.send(start("c4"), key=None, partition=0)
    bench.send(start("c1"), partition=wrong)
    results = await bench.results(5)
    refused = [result for result in results if result["status"] != "SUCCEEDED"]
    assert right == 0
    assert {result["error"]["code"] for result in refused} == {"misrouted"}
    assert sorted(result["command_id"] for result in refused) == ["c1", "c2", "c3", "c4"]
    assert bench.api.calls == ["start"]


async def test_a_misrouted_command_may_be_sent_again_where_it_belongs(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"), key=b"wrong")
    (refused,) = await bench.results(1)
    assert refused["error"]["code"] == "misrouted"
    bench.send(start("c1"))
    (_, result) = await bench.results(2)
    assert (result["status"], result["final"]) == ("SUCCEEDED", True)


async def test_any_partition_will_do_where_the_operator_says_so(make: Make) -> None:
    bench = await make(partitions=6, partitioner="any")
    bench.begin()
    bench.send(start("c1"), partition=(murmur2_of(MISSION) + 1) % 6)
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"allow": frozenset({"pause_run"})}, "verb_not_allowed"),
        (
            {"missions": frozenset({"11111111-1111-4111-8111-111111111111"})},
            "mission_not_allowed",
        ),
    ],
)
async def test_what_the_operator_does_not_allow_is_unauthorized(
    make: Make, options: dict[str, object], code: str
) -> None:
    bench = await make(**options)
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["error"]["code"]) == ("UNAUTHORIZED", code)
    assert not bench.api.calls


@pytest.mark.parametrize("reason", HOSTILE)
async def test_hostile_bytes_become_dead_letters_and_the_next_command_runs(
    make: Make, reason: str
) -> None:
    bench = await make()
    value = HOSTILE[reason]
    good: bytes = bench.codec.encode(f"{COMMANDS}-value", start("c0"))
    if reason == "trailing_bytes":
        value = good + b"!"
    elif reason == "undecodable":
        value = good[:5] + b"\x04\xff\xfe" + good[7:]
    bench.begin()
    offset = bench.send(value, key=MISSION.encode(), headers=(("mine", b"1"),))
    bench.send(start("c1"))
    (letter,) = await bench.letters(1)
    assert (letter.key, letter.value) == (MISSION.encode(), value)
    headers = dict(letter.headers)
    assert headers["mine"] == b"1"
    assert headers["__connect.errors.topic"] == COMMANDS.encode()
    assert headers["__connect.errors.offset"] == str(offset).encode()
    assert headers["bridge_error_class"] == reason.encode()
    (result,) = await bench.results(1)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")


async def test_a_dead_letter_moves_the_position_in_its_own_transaction(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(b"\x07", key=b"k")
    await bench.letters(1)
    (together,) = [t for t in bench.kafka.transactions if any(r.topic == LETTERS for r in t)]
    (state,) = [record.value for record in together if record.topic == STATE]
    position = (await bench.codec.decode(f"{STATE}-value", state))["position"]
    assert position == {"low": 1, "completed": [], "partitions": 1}


async def test_a_command_too_large_to_keep_becomes_a_stub(make: Make) -> None:
    bench = await make()
    bench.begin()
    huge = start("c1", body={"input": '{"a": "' + "x" * 1_000_000 + '"}'})
    bench.send(huge)
    bench.send(start("c2"))
    (letter,) = await bench.letters(1)
    headers = dict(letter.headers)
    assert headers["bridge_error_class"] == b"too_large"
    assert len(letter.value) == 4096
    assert int(headers["bridge_stub_length"]) > 1_000_000
    assert len(headers["bridge_stub_sha256"]) == 64
    refused, result = await bench.results(2)
    assert (refused["command_id"], refused["status"], refused["final"]) == ("c1", "REJECTED", True)
    assert refused["error"]["code"] == "too_large"
    assert "the limit is 393216" in refused["error"]["message"]
    assert (result["command_id"], result["status"]) == ("c2", "SUCCEEDED")


async def test_a_command_of_half_a_megabyte_is_told_to_its_sender(make: Make) -> None:
    bench = await make()
    bench.begin()
    large = start("c1", body={"input": '{"a": "' + "x" * 500_000 + '"}'})
    bench.send(large, headers=(("correlation_id", b"mine"),))
    (letter,) = await bench.letters(1)
    assert len(letter.value) > 500_000
    (refused,) = await bench.results(1)
    assert (refused["command_id"], refused["type"]) == ("c1", "start_run")
    assert (refused["status"], refused["error"]["code"]) == ("REJECTED", "too_large")
    (record,) = bench.kafka.records(RESULTS)
    assert record.key == MISSION.encode()
    assert dict(record.headers)["correlation_id"] == b"mine"
    assert not bench.api.calls


@pytest.mark.parametrize(
    "value",
    [
        b'{"command_id":"c1","type":"start_run"}',
        b'  {"command_id":"c1","type":"start_run","body":{"input":[1,2]}}\n',
        b'\0\0\0\0\x07{"command_id":"c1","type":"start_run"}',
    ],
)
async def test_who_sends_json_gets_a_result_and_a_dead_letter(make: Make, value: bytes) -> None:
    bench = await make()
    bench.begin()
    bench.send(value, key=MISSION.encode())
    (letter,) = await bench.letters(1)
    assert letter.value == value
    (refused,) = await bench.results(1)
    assert (refused["command_id"], refused["type"]) == ("c1", "start_run")
    assert (refused["status"], refused["final"]) == ("REJECTED", True)
    assert refused["error"]["code"] == "not_avro"
    bench.send(start("c1"))
    (_, result) = await bench.results(2)
    assert (result["status"], result["final"]) == ("SUCCEEDED", True)
    bench.send(value, key=MISSION.encode())
    (*_, late) = await bench.results(3)
    assert (late["error"]["code"], late["final"]) == ("not_avro", False)


@pytest.mark.parametrize(
    "value",
    [
        b'{"type":"start_run"}',
        b'{"command_id":7}',
        b'{"command_id":"no id at all"}',
        b'{"command_id":"\\ud800"}',
        b'["command_id"]',
        b"[" * 100_000,
        b'{"command_id":"c0"' + b" " * 500_000 + b"}",
        b"\xff{}",
    ],
    ids=range(8),
)
async def test_json_without_a_command_id_is_a_dead_letter_alone(make: Make, value: bytes) -> None:
    bench = await make()
    bench.begin()
    bench.send(value, key=b"k")
    bench.send(start("c1"))
    await bench.letters(1)
    (result,) = await bench.results(1)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")


@pytest.mark.parametrize("text", ["[" * 300_000, '{"a":' * 60_000, "9" * 300_000, "\0", "1e999999"])
async def test_hostile_json_inside_a_command_ends_in_a_result(make: Make, text: str) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1", body={"input": text}))
    (result,) = await bench.results(1)
    assert (result["command_id"], result["final"]) == ("c1", True)


async def test_what_kafkas_format_cannot_hold_is_one_dead_letter(make: Make) -> None:
    bench = await make()
    bench.begin()
    good: bytes = bench.codec.encode(f"{COMMANDS}-value", start("c0"))
    bench.send(good, key=MISSION.encode(), headers=(("\udcff\udcfe", b"1"),))
    bench.send(Undecodable(b"bytes of a batch", "unreadable", "why"), key=None)
    cut = Undecodable(b"first", "too_large", "why", length=700_000_000)
    bench.send(cut, key=MISSION.encode())
    bench.send(start("c1"))
    named, batch, stub = await bench.letters(3)
    told = [dict(letter.headers) for letter in (named, batch, stub)]
    reasons = [each["bridge_error_class"] for each in told]
    assert reasons == [b"bad_header", b"unreadable", b"too_large"]
    assert (named.value, told[0]["\\xff\\xfe"]) == (good, b"1")
    assert (batch.key, batch.value) == (None, b"bytes of a batch")
    assert (stub.value, told[2]["bridge_stub_length"]) == (b"first", b"700000000")
    assert "bridge_stub_sha256" not in told[2]
    (result,) = await bench.results(1)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")


async def test_an_absent_registry_stops_what_needs_it_and_buries_nothing(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.registry_cut = True
    bench.send(b"\x00\x7f\x00\x00\x01 from an unknown writer", key=b"k")
    await until(lambda: "registry" in bench.health.reasons)
    assert not bench.kafka.records(LETTERS)
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    assert not bench.kafka.records(LETTERS)
    bench.registry_cut = False
    await bench.letters(1)
    await until(lambda: not bench.health.reasons)


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("type", {"type": "fly_run"}),
        ("needs the body StartRun", {"body": ("missionbridge.v1.PauseRun", {})}),
        ("mission_id", {"mission_id": None}),
        ("no UUID", {"mission_id": "../../v2/x"}),
        ("command_id", {"command_id": "a b"}),
        ("command_id", {"command_id": "x" * 129}),
        ("on_doubt", {"on_doubt": "resolve"}),
        ("not JSON", {"body": {"input": "{"}}),
        ("JSON object", {"body": {"input": "[1]"}}),
    ],
)
async def test_mistaken_fields_are_rejected(
    make: Make, what: str, fields: dict[str, object]
) -> None:
    bench = await make()
    bench.begin()
    body = fields.pop("body") if isinstance(fields.get("body"), dict) else None
    bench.send(start("c1", body=body) | fields)
    (result,) = await bench.results(1)
    assert (result["status"], result["error"]["code"]) == ("REJECTED", "invalid")
    assert what in result["error"]["message"]
    assert not bench.api.calls


async def test_two_commands_with_one_id_get_one_final_result_between_them(make: Make) -> None:
    """Their keys differ, so their lanes run side by side."""
    bench = await make(allow=frozenset({"cancel_run"}))
    for mission in missions(2):
        bench.send(start("c1", mission))
    bench.begin()
    results = await bench.results(2)
    assert [result["final"] for result in results] == [True, False]
    assert [result["status"] for result in results] == ["UNAUTHORIZED", "REJECTED"]
