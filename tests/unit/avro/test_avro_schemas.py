"""The schema files themselves, and which schemas are let in."""

from __future__ import annotations

import json
from typing import Any

import avro.schema
import pytest
from avro_fakes import record

from bridge.avro.schema import NAMESPACE, admit, load_schemas
from bridge.avro.subjects import subjects
from bridge.config.types import VERBS

SCHEMAS = load_schemas()


@pytest.mark.parametrize("name", SCHEMAS)
def test_apache_avro_accepts_every_schema_and_every_field_is_documented(name: str) -> None:
    parsed = avro.schema.parse(SCHEMAS[name].text)
    assert isinstance(parsed, avro.schema.RecordSchema)
    assert parsed.namespace == NAMESPACE
    _documented(json.loads(SCHEMAS[name].text))


def _documented(schema: Any) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _documented(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            assert schema["doc"], schema["name"]
        for field in schema.get("fields", ()):
            assert field["doc"], f"{schema['name']}.{field['name']}"
            if "null" in field["type"]:
                assert field["type"][0] == "null"
                assert field["default"] is None
            _documented(field["type"])
        _documented(schema.get("items"))


def test_the_body_has_one_branch_for_each_verb_in_camel_case() -> None:
    parsed = avro.schema.parse(SCHEMAS["mission_command"].text)
    assert isinstance(parsed, avro.schema.RecordSchema)
    body = parsed.fields_dict["body"].type
    assert isinstance(body, avro.schema.UnionSchema)
    names = [branch.fullname for branch in body.schemas]
    camel = {"".join(word.capitalize() for word in verb.split("_")) for verb in VERBS}
    assert len(names) == len(VERBS) == 15
    assert set(names) == {f"{NAMESPACE}.{name}" for name in camel}


def test_every_schema_has_a_subject_and_commands_alone_may_lose_old_readers() -> None:
    found = subjects("missions")
    assert {schema.name for schema, _ in found.values()} == set(SCHEMAS)
    assert found["missions.events-value"].schema == SCHEMAS["mission_event"]
    assert found["missions.command-results-value"].schema == SCHEMAS["command_result"]
    levels = {subject: level for subject, (_, level) in found.items()}
    assert levels.pop("missions.commands-value") == "BACKWARD_TRANSITIVE"
    assert set(levels.values()) == {"FULL_TRANSITIVE"}


EMPTY = {"type": "record", "name": "Empty", "fields": []}
NOTHING = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}


def nested(depth: int) -> Any:
    kind: Any = "int"
    for _ in range(depth):
        kind = {"type": "array", "items": kind}
    return kind


def laughs(height: int) -> Any:
    """A record that holds two of the record below it, and so on: 2 ** height values, no bytes."""
    kind: Any = "null"
    for level in range(height):
        fields = [{"name": "a", "type": kind}]
        fields.append({"name": "b", "type": f"L{level - 1}" if level else kind})
        kind = {"type": "record", "name": f"L{level}", "fields": fields}
    return kind


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "array", "items": "null"},
        {"type": "map", "values": "null"},
        {"type": "array", "items": EMPTY},
        {"type": "array", "items": NOTHING},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        "null",
        EMPTY,
        ["null", NOTHING],
        laughs(12),
        ["null", "R"],
        {"type": "array", "items": "R"},
        {"type": "map", "values": ["null", {"type": "array", "items": "R"}]},
        nested(40),
        "unknown",
        {"type": "record", "name": "NoFields"},
        {"type": "nonsense"},
        {"items": "int"},
        7,
        None,
    ],
)
def test_schemas_that_could_cost_more_than_their_bytes_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        admit("hostile", record("R", ("field", kind)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "null",
        '"string"',
        "[" * 100_000,
        '{"type":"record"}',
        "[]",
        '{"a":1}',
        " " * 2**20,
    ],
)
def test_texts_that_are_no_record_schema_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        admit("hostile", text)


@pytest.mark.parametrize(
    "kind",
    [
        ["null", "string"],
        [EMPTY, {"type": "record", "name": "Other", "fields": []}],
        {"type": "array", "items": ["null", "int"]},
        {"type": "map", "values": {"type": "array", "items": "bytes"}},
        {"type": "fixed", "name": "F", "size": 16},
        {"type": "enum", "name": "E", "symbols": ["A", "B"]},
        nested(10),
    ],
)
def test_ordinary_schemas_are_let_in(kind: Any) -> None:
    assert admit("ordinary", record("R", ("field", kind))).parsed["name"] == "missionbridge.v1.R"


def test_the_fingerprint_ignores_what_does_not_change_the_bytes() -> None:
    schema = json.loads(SCHEMAS["mission_event"].text)
    del schema["doc"]
    schema["fields"][0] |= {
        "doc": "other",
        "type": {"type": "string", "avro.java.string": "String"},
    }
    assert admit("other", json.dumps(schema)).fingerprint == SCHEMAS["mission_event"].fingerprint
    schema["fields"][0]["name"] = "id"
    assert admit("other", json.dumps(schema)).fingerprint != SCHEMAS["mission_event"].fingerprint
