"""`send` without a broker: reading lines, and what results mean for the exit code."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from bridge.avro.schema import load_schemas
from bridge.cli.commands.delivery import Waiting
from bridge.cli.commands.send import from_lines

SCHEMA = load_schemas()["mission_command"]


def result(status: str, command_id: str = "c1", *, final: bool = True, **more: Any) -> Any:
    return {"command_id": command_id, "status": status, "final": final, "http_status": None, **more}


def test_a_file_has_a_command_a_line_and_may_have_empty_ones() -> None:
    line = b'{"type":"create_mission","command_id":"%d","body":{"name":"m"}}'
    commands = from_lines([line % 1, b"", line % 2 + b"\r", b" "], SCHEMA, now=7)
    assert [command["command_id"] for command in commands] == ["1", "2"]


def test_one_bad_line_is_enough_to_send_nothing_and_all_are_told() -> None:
    good = b'{"type":"create_mission","body":{"name":"m"}}'
    with pytest.raises(typer.BadParameter) as caught:
        from_lines([b"{", good, b'{"type":"dance"}'], SCHEMA, now=7)
    first, second, third = str(caught.value).splitlines()
    assert first == "nothing was sent"
    assert second.startswith("line 1: not JSON")
    assert third.startswith("line 3: type must be one of")


@pytest.mark.parametrize(
    ("results", "printed", "code"),
    [
        ([result("SUCCEEDED")], [True], 0),
        ([result("ALREADY_DONE", http_status=409)], [True], 0),
        ([result("REJECTED")], [True], 1),
        ([result("EXPIRED")], [True], 1),
        ([], [], 75),
        ([result("SUCCEEDED", "another")], [False], 75),
        ([result("IN_DOUBT", final=False)], [False], 75),
        ([result("IN_DOUBT", final=False), result("SUCCEEDED")], [False, True], 0),
        ([result("IN_DOUBT")], [True], 1),
        ([result("DUPLICATE", final=False, http_status=201)], [True], 0),
        ([result("DUPLICATE", final=False, http_status=404)], [True], 1),
        ([result("DUPLICATE", final=False)], [True], 1),
        ([result("REJECTED", final=False)], [True], 1),
        ([result("SUCCEEDED"), result("SUCCEEDED")], [True, False], 0),
    ],
)
def test_results_decide_the_exit_code(results: list[Any], printed: list[bool], code: int) -> None:
    waiting = Waiting(["c1"])
    assert [waiting.take(one) for one in results] == printed
    assert waiting.exit_code == code


def test_a_command_sent_twice_has_two_results() -> None:
    waiting = Waiting(["c1", "c2", "c1"])
    waiting.take(result("DUPLICATE", final=False, http_status=200))
    assert waiting.missing == ["c1", "c2"]
    waiting.take(result("SUCCEEDED"))
    assert waiting.missing == ["c2"]


def test_a_failure_is_told_rather_than_a_missing_result() -> None:
    waiting = Waiting(["c1", "c2"])
    waiting.take(result("FAILED"))
    assert waiting.exit_code == 1
