"""What is encoded, by whichever way, is what fastavro writes; what it refuses is refused."""

from __future__ import annotations

import asyncio
import io
from typing import Any, Final

import pytest
from avro_fakes import EVENT, StillClock, Wire, registry_over
from fastavro import schemaless_writer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.avro.codec import Codec, load_schemas
from bridge.avro.encoder import UNFIT, encoder_of
from bridge.avro.schema import Schema
from bridge.avro.subjects import subjects
from bridge.errors import InvalidRecord

SCHEMAS: Final = {subject: schema for subject, (schema, _) in subjects("missions").items()}
EVENTS: Final = "missions.events-value"

LONGS = st.one_of(
    st.sampled_from([0, -1, 1, 63, 64, -64, -65, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1]),
    st.builds(
        lambda bits, off, sign: sign * (2**bits + off),
        st.integers(0, 64),
        st.integers(-1, 1),
        st.sampled_from([1, -1]),
    ),
    st.integers(-(2**70), 2**70),
)
TEXTS = st.one_of(
    st.text(st.characters()),
    st.sampled_from(
        ["", "\ud800", "é" * 63, "x" * 63, "x" * 64, "x" * 8191, "x" * 8192, "é" * 4096]
    ),
)
ODD = st.one_of(
    st.none(), st.booleans(), LONGS, TEXTS, st.floats(), st.binary(), st.just([]), st.just({})
)


class OwnText(str):
    """A subclass, as enumerations of text are."""

    __slots__ = ()


async def _prepared() -> Codec:
    registry = registry_over(Wire())
    codec = Codec(registry, clock=StillClock())
    for subject, schema in SCHEMAS.items():
        await codec.prepare(subject, schema, register=True)
    await registry.aclose()
    return codec


CODEC: Final = asyncio.run(_prepared())


def values(schema: Any) -> st.SearchStrategy[Any]:
    """Return values of a schema, few of which do not fit it."""
    if isinstance(schema, list):
        return st.one_of([_branch(one) for one in schema])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        fields = {one["name"]: values(one["type"]) for one in schema["fields"]}
        optional = {one["name"] for one in schema["fields"] if "default" in one}
        return st.fixed_dictionaries(
            {name: one for name, one in fields.items() if name not in optional},
            optional={name: fields[name] for name in optional},
        )
    if kind == "array":
        return st.lists(values(schema["items"]), max_size=3)
    if kind == "enum":
        return st.sampled_from([*schema["symbols"], "other"])
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": LONGS,
        "long": LONGS,
        "float": st.floats(),
        "double": st.floats(),
        "bytes": st.binary(),
        "string": TEXTS,
    }.get(kind, ODD)


def _branch(schema: Any) -> st.SearchStrategy[Any]:
    found = values(schema)
    is_record = isinstance(schema, dict) and schema["type"] == "record"
    return found.map(lambda value: (schema["name"], value)) if is_record else found


def expected(schema: Schema, value: Any) -> bytes | None:
    """Return what fastavro writes; None: it refuses."""
    out = io.BytesIO()
    try:
        schemaless_writer(out, schema.parsed, value, strict_allow_default=True)
    except Exception:  # noqa: BLE001 - whatever it raises
        return None
    return out.getvalue()


def encoded(subject: str, value: Any) -> bytes | None:
    """Return the body that the codec writes; None: it refuses, as InvalidRecord."""
    try:
        return CODEC.encode(subject, value)[5:]
    except InvalidRecord:
        return None


@pytest.mark.parametrize("subject", SCHEMAS)
def test_every_value_is_written_as_fastavro_writes_it(subject: str) -> None:
    schema = SCHEMAS[subject]

    @settings(max_examples=150, deadline=None)
    @given(values(schema.parsed))
    def holds(value: dict[str, Any]) -> None:
        assert encoded(subject, value) == expected(schema, value)

    holds()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(EVENT)), ODD)
@example("event_id", OwnText("own"))
@example("payload", OwnText("own"))
@example("payload", ("string", "named branch"))
@example("late", 1)
@example(name="timestamp", value=True)
@example("timestamp", 1.0)
@example("surprise", "1")
def test_an_event_with_one_odd_field_is_written_or_refused_as_by_fastavro(
    name: str, value: Any
) -> None:
    changed = EVENT | {name: value}
    assert encoded(EVENTS, changed) == expected(SCHEMAS[EVENTS], changed)


@given(LONGS, LONGS)
def test_every_time_is_written_as_by_fastavro(one: int, other: int) -> None:
    changed = EVENT | {"timestamp": one, "ingested_at": other}
    assert encoded(EVENTS, changed) == expected(SCHEMAS[EVENTS], changed)


def test_events_are_written_without_fastavro() -> None:
    encode = encoder_of(SCHEMAS[EVENTS].parsed, b"head")
    assert encode is not None
    assert encode(EVENT) == b"head" + (expected(SCHEMAS[EVENTS], EVENT) or b"")


@pytest.mark.parametrize(
    "change", [{"event_id": 7}, {"late": 0}, {"timestamp": 2**63}, {"payload": "x" * 8192}]
)
def test_what_is_not_as_expected_is_left_to_fastavro(change: dict[str, Any]) -> None:
    encode = encoder_of(SCHEMAS[EVENTS].parsed, b"")
    assert encode is not None
    with pytest.raises(UNFIT):
        encode(EVENT | change)


def test_a_schema_with_other_kinds_of_fields_is_left_to_fastavro() -> None:
    assert encoder_of(load_schemas()["checkpoint"].parsed, b"") is None
