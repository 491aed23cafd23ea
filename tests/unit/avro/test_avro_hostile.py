"""Bytes and schemas from strangers: whatever they are, a dict or an InvalidRecord, and soon."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import fastavro
import pytest
from avro_fakes import COMMAND, EVENT, StillClock, Wire, record, registry_over
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.avro import codec as codec_module
from bridge.avro.codec import MAX_BYTES, Codec
from bridge.avro.registry import Registry
from bridge.avro.subjects import subjects
from bridge.errors import InvalidRecord, RegistryAway

EVENTS = "missions.events-value"
COMMANDS = "missions.commands-value"


@dataclass
class Bench:
    wire: Wire
    registry: Registry
    clock: StillClock
    codec: Codec

    async def register(self, schema: str | dict[str, Any], subject: str = COMMANDS) -> bytes:
        """Register a stranger's schema, whatever it is; the header of its records."""
        await self.registry._ask("PUT", f"config/{subject}", {"compatibility": "NONE"})
        text = schema if isinstance(schema, str) else json.dumps(schema)
        return b"\0" + (await self.registry.register(subject, text)).to_bytes(4, "big")

    async def refused(self, data: bytes | None, **how: Any) -> str:
        with pytest.raises(InvalidRecord) as caught:
            await self.codec.decode(COMMANDS, data, **how)
        return caught.value.reason


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    wire, clock = Wire(), StillClock()
    registry = registry_over(wire)
    codec = Codec(registry, clock=clock)
    for subject in (EVENTS, COMMANDS):
        await codec.prepare(subject, subjects("missions")[subject].schema, register=True)
    wire.requests.clear()
    yield Bench(wire, registry, clock, codec)
    await registry.aclose()


async def test_each_kind_of_broken_bytes_has_its_reason(bench: Bench) -> None:
    good = bench.codec.encode(COMMANDS, COMMAND)
    assert await bench.refused(None) == "null_value"
    assert await bench.refused(b"") == "truncated"
    assert await bench.refused(b"\0\0\0") == "truncated"
    assert await bench.refused(b"\1" + good[1:]) == "wrong_magic"
    assert await bench.refused(b"{}") == "wrong_magic"
    assert await bench.refused(good + b"\0") == "trailing_bytes"
    assert await bench.refused(good + bytes(MAX_BYTES)) == "too_large"
    assert await bench.refused(b"\0\0\0\x30\x39" + good[5:]) == "unknown_schema"
    assert await bench.refused(b"\0\xff\xff\xff\xff" + good[5:]) == "unknown_schema"
    assert await bench.refused(bench.codec.encode(EVENTS, EVENT)) == "foreign_schema"
    assert await bench.refused(good[:5] + b"\x04\xff\xfe" + good[8:]) == "undecodable"


async def test_a_record_cut_anywhere_is_refused(bench: Bench) -> None:
    good = bench.codec.encode(COMMANDS, COMMAND)
    for end in range(len(good)):
        assert await bench.refused(good[:end]) == "truncated"


async def test_a_schema_of_another_subject_is_foreign_though_it_would_fit(bench: Bench) -> None:
    schema = subjects("missions")[COMMANDS].schema
    elsewhere = json.loads(schema.text) | {"doc": "the same, elsewhere"}
    header = await bench.register(elsewhere, "other-value")
    assert (
        await bench.refused(header + bench.codec.encode(COMMANDS, COMMAND)[5:]) == "foreign_schema"
    )


BOMBS = {
    "items without bytes": (
        record("MissionCommand", ("a", {"type": "array", "items": "null"})),
        b"\x80\x80\x80\x80\x02\0",
    ),
    "recursion": (record("MissionCommand", ("a", ["null", "MissionCommand"])), b"\2" * 200_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_is_refused_unread(bench: Bench, bomb: str) -> None:
    schema, data = BOMBS[bomb]
    assert await bench.refused(await bench.register(schema) + data) == "foreign_schema"


def start_run(namespace: str) -> dict[str, Any]:
    fields = [{"name": "input", "type": ["null", "string"]}]
    return {"type": "record", "name": "StartRun", "namespace": namespace, "fields": fields}


FIXED = {"type": "fixed", "name": "StartRun", "size": 4}
STEPS = {"type": "array", "items": {"type": "fixed", "name": "NewStep", "size": 4}}
SHAPES = {
    "fixed": (FIXED, b"abcd"),
    "fixed in a union": ([FIXED, start_run("b")], b"\0abcd"),
    "the same name twice": ([start_run("a"), start_run("b")], b"\2\0"),
    "inside a list": (
        {"type": "record", "name": "AddSteps", "fields": [{"name": "steps", "type": STEPS}]},
        b"\2abcd\0",
    ),
    "null": (["null", start_run("missionbridge.v1")], b"\0"),
    "text": ("string", b"\2x"),
    "symbol": ({"type": "enum", "name": "StartRun", "symbols": ["A"]}, b"\0"),
    "map": ({"type": "map", "values": "string"}, b"\0"),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_body_of_another_shape_is_refused(bench: Bench, shape: str) -> None:
    body, written = SHAPES[shape]
    schema = json.loads(subjects("missions")[COMMANDS].schema.text)
    (field,) = (field for field in schema["fields"] if field["name"] == "body")
    field["type"] = body
    header = await bench.register(schema)
    good = bench.codec.encode(COMMANDS, COMMAND | {"body": ("missionbridge.v1.CloneMission", {})})
    assert await bench.refused(header + good[5:-1] + written) == "undecodable"


async def test_a_length_that_lies_reserves_no_memory(bench: Bench) -> None:
    text = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    assert await bench.refused(bench.codec.encode(COMMANDS, COMMAND)[:5] + text) == "truncated"
    plan: Any = ("missionbridge.v1.AddSteps", {"steps": []})
    empty = bench.codec.encode(COMMANDS, COMMAND | {"body": plan})
    assert await bench.refused(empty[:-1] + text + b"\0" * 100_000) == "truncated"


async def test_ten_thousand_unknown_ids_cost_a_few_requests(bench: Bench) -> None:
    for schema_id in range(100, 10_100):
        data = b"\0" + schema_id.to_bytes(4, "big") + b"x"
        assert await bench.refused(data, received=bench.clock.time) == "unknown_schema"
    assert len(bench.wire.requests) < 30


async def test_without_a_time_of_receipt_a_listing_counts_for_a_second(bench: Bench) -> None:
    for schema_id in range(100, 1_100):
        assert await bench.refused(b"\0" + schema_id.to_bytes(4, "big")) == "unknown_schema"
        bench.clock.time += 0.01
    assert len(bench.wire.requests) < 10 * 30


async def test_an_id_asked_for_too_early_is_known_once_it_is_registered(bench: Bench) -> None:
    newer = json.loads(subjects("missions")[COMMANDS].schema.text) | {"doc": "newer"}
    body = bench.codec.encode(COMMANDS, COMMAND)[5:]
    expected = b"\0\0\0\0\3"
    assert await bench.refused(expected + body, received=bench.clock.time) == "unknown_schema"
    bench.clock.time += 0.001
    assert await bench.register(newer) == expected
    value = await bench.codec.decode(COMMANDS, expected + body, received=bench.clock.time)
    assert value == COMMAND


async def test_while_the_registry_is_away_nothing_is_judged(bench: Bench) -> None:
    bench.wire.cut = True
    assert await bench.codec.decode(COMMANDS, bench.codec.encode(COMMANDS, COMMAND)) == COMMAND
    with pytest.raises(RegistryAway):
        await bench.codec.decode(COMMANDS, b"\0\0\0\0\x09")


async def test_a_registry_that_lost_our_schema_is_not_believed(bench: Bench) -> None:
    bench.wire.server = Wire().server
    with pytest.raises(RegistryAway, match="no longer lists our schema id 2"):
        await bench.codec.decode(COMMANDS, b"\0\0\0\0\x09")


async def test_what_a_deleted_version_wrote_is_still_read(bench: Bench) -> None:
    older = json.loads(subjects("missions")[COMMANDS].schema.text) | {"doc": "older"}
    header = await bench.register(older)
    body = bench.codec.encode(COMMANDS, COMMAND)[5:]
    await bench.registry._ask("DELETE", f"subjects/{COMMANDS}/versions/2")
    assert await bench.codec.decode(COMMANDS, header + body) == COMMAND


async def test_ids_with_another_meaning_are_written_no_more_until_they_are_right(
    bench: Bench,
) -> None:
    await bench.codec.verify()
    bench.codec.check()
    good, bench.wire.server = bench.wire.server, Wire().server
    await bench.codec.verify()
    with pytest.raises(RegistryAway, match="has lost schema id 2"):
        bench.codec.check()
    for name in ("A", "B"):
        await bench.register(record(name, ("a", "string")))
    await bench.codec.verify()
    with pytest.raises(RegistryAway, match="schema id 2 another meaning"):
        bench.codec.check()
    bench.wire.cut = True
    with pytest.raises(RegistryAway):
        await bench.codec.verify()
    assert bench.codec.trouble, "silence proves nothing"
    bench.wire.cut, bench.wire.server = False, good
    await bench.codec.verify()
    bench.codec.check()


async def test_a_registry_that_spells_our_schema_otherwise_means_the_same(bench: Bench) -> None:
    bench.wire.server = Wire().server
    for subject in (EVENTS, COMMANDS):
        schema = json.loads(subjects("missions")[subject].schema.text)
        await bench.register(schema | {"doc": "spelt otherwise"}, subject)
    await bench.codec.verify()
    bench.codec.check()


async def test_an_id_that_changes_its_meaning_is_not_decoded_with(bench: Bench) -> None:
    bench.wire.server = Wire().server
    await bench.register(record("MissionCommand", ("a", "string")))
    for subject in (EVENTS, COMMANDS):
        await bench.register(subjects("missions")[subject].schema.text, subject)
    with pytest.raises(RegistryAway, match="schema id 1 another meaning"):
        await bench.codec.decode(COMMANDS, b"\0\0\0\0\x09")
    assert bench.codec.trouble


BOUNDED = settings(
    max_examples=300,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@BOUNDED
@given(data=st.binary(max_size=200))
async def test_random_bytes(bench: Bench, data: bytes) -> None:
    await dict_or_invalid(bench, data)


@BOUNDED
@given(data=st.binary(max_size=200))
async def test_random_bytes_behind_a_good_header(bench: Bench, data: bytes) -> None:
    await dict_or_invalid(bench, bench.codec.encode(COMMANDS, COMMAND)[:5] + data)


@BOUNDED
@given(
    at=st.integers(5, 80),
    cut=st.integers(0, 12),
    patch=st.binary(max_size=12),
    branch=st.sampled_from(["CreatePlan", "StartRun"]),
)
async def test_good_records_with_a_hole(
    bench: Bench, at: int, cut: int, patch: bytes, branch: str
) -> None:
    step = {"step_id": "s", "description": "d", "sequence": 1}
    body = {"steps": [step] * 3} if branch == "CreatePlan" else {}
    data = bench.codec.encode(COMMANDS, COMMAND | {"body": (f"missionbridge.v1.{branch}", body)})
    await dict_or_invalid(bench, data[:at] + patch + data[at + cut :])


async def dict_or_invalid(bench: Bench, data: bytes) -> None:
    try:
        value = await bench.codec.decode(COMMANDS, data, received=bench.clock.time)
    except InvalidRecord:
        return
    assert set(value) == set(COMMAND)
    assert isinstance(value["body"], tuple)


@pytest.mark.parametrize(
    "error",
    [EOFError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, UnicodeError],
)
async def test_whatever_fastavro_raises_is_an_invalid_record(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise error

    good = bench.codec.encode(COMMANDS, COMMAND)
    monkeypatch.setattr(codec_module, "schemaless_reader", explode)
    assert await bench.refused(good) in {"truncated", "undecodable"}


# Evolution: other versions of the schema under the same subject.


def change(name: str, kind: Any = None) -> dict[str, Any]:
    """Our command schema without a field, or with another type for it, or with one more."""
    schema: dict[str, Any] = json.loads(subjects("missions")[COMMANDS].schema.text)
    fields = [field for field in schema["fields"] if field["name"] != name or kind is not None]
    for field in fields:
        if field["name"] == name:
            field["type"] = kind
            field.pop("default", None)
            break
    else:
        if kind is not None:
            fields.insert(0, {"name": name, "type": kind})
    return schema | {"fields": fields}


def written(schema: dict[str, Any], value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


START_RUN = record("StartRun", ("input", ["null", "string"]), ("metadata", ["null", "string"]))
PAUSE_RUN = record("PauseRun")


@pytest.mark.parametrize(
    ("schema", "extra"),
    [
        (change("on_doubt"), {}),
        (change("priority", "int"), {"priority": 3}),
        (change("priority", {"type": "array", "items": "long"}), {"priority": [1, 2]}),
        (change("command_id", {"type": "string", "avro.java.string": "String"}), {}),
        (change("issued_at", "long"), {}),
        (change("mission_id", "string"), {}),
        (change("body", [json.loads(START_RUN), json.loads(PAUSE_RUN)]), {}),
        (change("body", [json.loads(PAUSE_RUN), json.loads(START_RUN)]), {}),
        (change("body", [json.loads(START_RUN)]), {}),
        (change("body", json.loads(START_RUN)), {}),
    ],
    ids=[
        "a field less",
        "a field more",
        "an array more",
        "a Java client's strings",
        "no logical type",
        "a field that is always there",
        "two branches",
        "branches in another order",
        "one branch",
        "no union",
    ],
)
async def test_commands_of_other_versions_are_read_as_ours(
    bench: Bench, schema: dict[str, Any], extra: dict[str, Any]
) -> None:
    header = await bench.register(schema)
    value = COMMAND | extra
    body = next(field for field in schema["fields"] if field["name"] == "body")["type"]
    if isinstance(body, dict):
        value["body"] = COMMAND["body"][1]
    assert await bench.codec.decode(COMMANDS, header + written(schema, value)) == COMMAND


async def test_a_plan_written_with_a_schema_of_other_order_and_more_fields(bench: Bench) -> None:
    step = {
        "type": "record",
        "name": "NewStep",
        "fields": [
            {"name": "note", "type": "string"},
            {"name": "sequence", "type": "int"},
            {"name": "step_id", "type": "string"},
            {"name": "description", "type": "string"},
        ],
    }
    add = record("AddSteps", ("steps", {"type": "array", "items": step}))
    create = record("CreatePlan", ("steps", {"type": "array", "items": "NewStep"}))
    schema = change("body", [json.loads(add), json.loads(create)])
    header = await bench.register(schema)
    steps = [{"note": "n", "sequence": 1, "step_id": "s", "description": "d"}]
    value = COMMAND | {"body": ("missionbridge.v1.CreatePlan", {"steps": steps})}
    read = await bench.codec.decode(COMMANDS, header + written(schema, value))
    assert read["body"] == (
        "missionbridge.v1.CreatePlan",
        {
            "steps": [
                {
                    "step_id": "s",
                    "description": "d",
                    "sequence": 1,
                    "parent_step_id": None,
                    "metadata": None,
                }
            ]
        },
    )


async def test_a_verb_that_we_do_not_know_yet_is_undecodable(bench: Bench) -> None:
    schema = change("body", [json.loads(record("Teleport")), json.loads(START_RUN)])
    header = await bench.register(schema)
    value = COMMAND | {"body": ("missionbridge.v1.Teleport", {})}
    assert await bench.refused(header + written(schema, value)) == "undecodable"
