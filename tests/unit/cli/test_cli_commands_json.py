"""Commands as plain JSON, made into the Avro record that the bridge accepts."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from fastavro import schemaless_reader, schemaless_writer

from bridge.avro.schema import load_schemas
from bridge.cli.commands.commands_json import FREE_OBJECTS, read_command, to_record
from bridge.commands.model import Verb
from bridge.errors import InvalidRecord

SCHEMA = load_schemas()["mission_command"]
MISSION = "0b9f5f3c-6e4a-4b0e-9c57-b7d4a7b0f001"
RUN = "8a1d3c52-0c55-4a6f-8b62-1d2f7a9e4c02"
STEP = {"step_id": "s1", "description": "call", "sequence": 1}
BODIES: dict[Verb, dict[str, Any]] = {
    Verb.CREATE_MISSION: {"name": "m"},
    Verb.LOG_EVENT: {"type": "message", "summary": "hello"},
    Verb.CREATE_PLAN: {"steps": [STEP]},
    Verb.ADD_STEPS: {"steps": [STEP, STEP]},
    Verb.UPDATE_STEP: {"step_id": "s1", "status": "completed"},
    Verb.LINK_AGENT: {"telnyx_agent_id": "assistant-1"},
    Verb.UNLINK_AGENT: {"telnyx_agent_id": "assistant-1"},
}


def record(verb: str, body: Any = None, **fields: Any) -> dict[str, Any]:
    plain = {"type": verb, "mission_id": MISSION, "run_id": RUN, "body": body or {}}
    return to_record({**plain, **fields}, SCHEMA, now=7)


@pytest.mark.parametrize("verb", Verb)
def test_each_verb_becomes_a_record_that_can_be_encoded(verb: Verb) -> None:
    made = record(verb, BODIES.get(verb))
    out = BytesIO()
    schemaless_writer(out, SCHEMA.parsed, made, strict=True)
    out.seek(0)
    read = schemaless_reader(out, SCHEMA.parsed, None, return_record_name=True)
    assert read == made
    assert made["body"][0] == f"missionbridge.v1.{verb.branch}"


def test_what_is_not_given_is_made_or_null() -> None:
    made = to_record({"type": "start_run", "mission_id": MISSION}, SCHEMA, now=7)
    assert len(made["command_id"]) == 32
    assert made["issued_at"] == 7
    assert made["run_id"] is made["expires_at"] is made["issuer"] is None
    assert made["body"] == ("missionbridge.v1.StartRun", {"input": None, "metadata": None})


def test_free_objects_become_text_with_their_numbers_as_written() -> None:
    plain = read_command('{"input": {"price": 1.10, "big": 12345678901234567890123}}')
    _, body = record("start_run", plain)["body"]
    assert body["input"] == '{"price":1.10,"big":12345678901234567890123}'
    steps = {"steps": [{**STEP, "metadata": {"a": [1]}}]}
    _, body = record("create_plan", steps)["body"]
    assert body["steps"][0]["metadata"] == '{"a":[1]}'
    _, body = record("start_run", {"input": '{"a": 1}'})["body"]
    assert body["input"] == '{"a": 1}'


def test_the_free_objects_are_those_that_the_schema_calls_so() -> None:
    def free(shape: Any) -> set[str]:
        if isinstance(shape, list):
            return set().union(*map(free, shape))
        if not isinstance(shape, dict):
            return set()
        named = {f["name"] for f in shape.get("fields", ()) if "JSON object as text" in f["doc"]}
        inner = [f["type"] for f in shape.get("fields", ())] + [shape.get("items")]
        return named.union(*map(free, inner))

    assert free(json.loads(SCHEMA.text)) == FREE_OBJECTS


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ({}, "type must be one of create_mission, "),
        ({"type": "StartRun"}, "type must be one of create_mission, "),
        ({"type": "start_run"}, "start_run needs a mission_id"),
        ({"type": "pause_run", "mission_id": MISSION}, "pause_run needs a run_id"),
        ({"type": "start_run", "mission_id": "x/../y"}, "mission_id 'x/../y' is no UUID"),
        ({"type": "start_run", "mission": MISSION}, "mission: there is no such field; did you"),
        (
            {"type": "start_run", "mission_id": MISSION, "command_id": "a b"},
            "command_id must be 1 to 128 of",
        ),
        ({"type": "create_mission", "command_id": 1}, "command_id must be a text"),
        ({"type": "create_mission", "expires_at": "soon"}, "expires_at must be an integer"),
        ({"type": "create_mission", "expires_at": True}, "expires_at must be an integer"),
        (
            {"type": "start_run", "mission_id": MISSION, "on_doubt": "resolve"},
            "on_doubt may only be strict",
        ),
        ({"type": "create_mission", "body": []}, "body must be an object"),
        ({"type": "create_mission", "body": None}, "body is missing"),
        ({"type": "create_mission"}, "body.name is missing"),
        ({"type": "create_mission", "body": {"nam": "x"}}, "body.nam: there is no such field; did"),
        ({"type": "create_mission", "body": {"name": {}}}, "body.name must be a text"),
    ],
)
def test_what_the_bridge_would_reject_is_refused_in_its_words(plain: Any, said: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        to_record(plain, SCHEMA, now=7)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("verb", "body", "said"),
    [
        ("log_event", {"type": "shout", "summary": "x"}, "body.type: "),
        ("log_event", {"type": "message", "summary": "x", "payload": [1]}, "body.payload must be"),
        (
            "start_run",
            {"input": "x"},
            'body.input must be an object, as in {"input": {"name": "value"}}',
        ),
        ("create_plan", {"steps": {}}, "body.steps must be a list"),
        ("create_plan", {"steps": [{**STEP, "sequence": 1.5}]}, "body.steps[0].sequence must be"),
        ("add_steps", {"steps": [STEP, {"step_id": "s"}]}, "body.steps[1].description is missing"),
    ],
)
def test_a_body_that_does_not_fit_its_verb_is_refused(verb: str, body: Any, said: str) -> None:
    with pytest.raises(InvalidRecord) as caught:
        record(verb, body)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a":NaN}', '{"a":1', b"\xff"])
def test_text_that_is_no_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRecord):
        read_command(text)


def test_a_mistyped_verb_is_told_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidRecord, match=r"; did you mean start_run\?$"):
        record("start-run")
