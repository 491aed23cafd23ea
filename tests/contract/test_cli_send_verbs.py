"""`send` on a Kafka, with a bridge that carries out all verbs and settles doubts quickly."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from support.brokers import Broker
from support.command_line import Ended, invoke
from support.kafka import delete_topics
from support.stage import Stage, stage

from bridge.commands.model import Verb

STEP = {"step_id": "s-1", "description": "Call", "sequence": 1}
AGENT = {"telnyx_agent_id": "assistant-1"}
DAY: list[tuple[Verb, dict[str, Any]]] = [
    (Verb.CREATE_MISSION, {"name": "m", "metadata": {"n": 1.10}}),
    (Verb.UPDATE_MISSION, {"name": "n"}),
    (Verb.CLONE_MISSION, {}),
    (Verb.START_RUN, {"input": {"city": "Oslo"}}),
    (Verb.LOG_EVENT, {"type": "custom", "summary": "Grüße 🚀", "payload": {"a": [1]}}),
    (Verb.CREATE_PLAN, {"steps": [STEP]}),
    (Verb.ADD_STEPS, {"steps": [{**STEP, "step_id": "s-2", "sequence": 2}]}),
    (Verb.UPDATE_STEP, {"step_id": "s-1", "status": "completed"}),
    (Verb.LINK_AGENT, AGENT),
    (Verb.UNLINK_AGENT, AGENT),
    (Verb.UPDATE_RUN, {"status": "running", "result_payload": {"n": 1.10}}),
    (Verb.PAUSE_RUN, {}),
    (Verb.RESUME_RUN, {}),
    (Verb.CANCEL_RUN, {}),
    (Verb.DELETE_MISSION, {}),
]
ABOUT_MISSIONS = {Verb.UPDATE_MISSION, Verb.CLONE_MISSION, Verb.START_RUN, Verb.DELETE_MISSION}


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=5) as made:
        made.run(
            *("--only", "commands"),
            BRIDGE_API__TIMEOUT="1",
            BRIDGE_COMMANDS__SETTLE="3",
            BRIDGE_COMMANDS__ALLOW=",".join(Verb),
        ).ready()
        yield made
    delete_topics(kafka.address, prefix)


def send(on: Stage, *arguments: str, stdin: str = "") -> Ended:
    return invoke("send", *arguments, "--wait", "60", env=on.env(), stdin=stdin)


def of(verb: Verb, ids: dict[str, str]) -> dict[str, str]:
    """Return the ids that a verb takes."""
    if verb is Verb.CREATE_MISSION:
        return {}
    return {"mission_id": ids["mission_id"]} if verb in ABOUT_MISSIONS else ids


def expect_success(result: dict[str, Any], verb: Verb, ids: dict[str, str]) -> None:
    assert (result["type"], result["status"], result["final"]) == (verb, "SUCCEEDED", True), result
    if verb in {Verb.CREATE_MISSION, Verb.START_RUN}:
        ids.update({name: result[name] for name in ("mission_id", "run_id") if result[name]})


def test_each_verb_is_sent_with_options(on: Stage) -> None:
    assert {verb for verb, _ in DAY} == set(Verb)
    ids: dict[str, str] = {}
    for verb, body in DAY:
        options = [
            option
            for name, value in of(verb, ids).items()
            for option in (f"--{name.replace('_', '-')}", value)
        ]
        ended = send(on, verb, *options, "--body", json.dumps(body), "--json")
        (result,) = ended.lines
        expect_success(result, verb, ids)
        assert ended.code == 0


def test_each_verb_is_sent_with_a_file(on: Stage) -> None:
    ids: dict[str, str] = {}
    for verb, body in DAY:
        line = json.dumps({"type": verb, "body": body, **of(verb, ids)})
        ended = send(on, "--file", "-", stdin=line)
        (result,) = ended.lines
        expect_success(result, verb, ids)
        assert ended.code == 0


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        pytest.param({"kind": "status", "status": 500}, "IN_DOUBT", 1, id="never carried out"),
        pytest.param({"kind": "late_effect", "seconds": 2}, "SUCCEEDED", 0, id="carried out late"),
    ],
)
def test_a_doubt_is_told_on_stderr_and_its_end_is_waited_for(
    on: Stage, fault: dict[str, Any], status: str, code: int
) -> None:
    on.control("faults", {"operation": "start_run", "times": 1, **fault})
    mission_id = str(on.events()[0]["mission_id"])
    ended = send(on, "start_run", "--mission-id", mission_id, "--json")
    (result,) = ended.lines
    assert (ended.code, result["status"], result["final"]) == (code, status, True)
    assert f"not settled yet: IN_DOUBT start_run {result['command_id']}" in ended.err
