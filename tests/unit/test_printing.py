"""What others wrote never reaches a terminal or a log as it is."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.command_line import invoke, logging_as_it_was

import bridge
from bridge import logs, telemetry
from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, KafkaAway
from bridge.health import Health
from bridge.ops.server import ops_app
from bridge.printing import printable, to_json

HOSTILE = "a\x1b[2J\x1b]0;t\x07\x9b31m\r\nready\u202egnp\u2066\u2028\x7f\ud800\U000e0041b"
"""ESC, OSC, C1, line ends, bidi and tag characters, half of a surrogate pair."""


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.removesuffix("\n").split("\n"))


@given(some.text())
def test_a_printable_text_moves_no_cursor(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert not text.isprintable() or printable(text) == text


@given(some.text(some.characters()))
def test_json_says_the_same_and_is_printable(text: str) -> None:
    told = to_json({text: [text, 1]})
    assert told.isprintable()
    assert json.loads(told) == {text: [text, 1]}


def test_json_of_hostile_text_is_printable() -> None:
    assert to_json(HOSTILE).isprintable()
    assert json.loads(to_json(HOSTILE)) == HOSTILE


@pytest.mark.parametrize("error", [KafkaAway(HOSTILE), ConfigError([HOSTILE, HOSTILE])])
def test_an_error_stays_on_its_line(error: BridgeError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: Any) -> None:
        raise error

    monkeypatch.setattr("bridge.cli.app", fails)
    ended = invoke("any", env={})
    assert is_harmless(ended.err)
    assert ended.err.count("\n") == (1 if isinstance(error, KafkaAway) else 3)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_line_stays_on_its_line(form: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with logging_as_it_was():
        logs.configure_logging("info", form)
        telemetry.log("bridge").warning("happened", reason=HOSTILE, what=[HOSTILE])
        logging.getLogger("library").warning("it said %s", HOSTILE)
        for handler in logging.getLogger().handlers:
            handler.flush()
    told = capfd.readouterr().err
    assert told.count("\n") == 2
    assert is_harmless(told)


def test_the_ops_port_answers_printable_json() -> None:
    health = Health(Clock())
    health.unready("api", HOSTILE)

    async def asked(path: str) -> str:
        transport = httpx.ASGITransport(ops_app(health, lambda: {"reason": HOSTILE}))
        async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
            return (await client.get(path)).text

    for path in ("/readyz", "/status"):
        told = asyncio.run(asked(path))
        assert told.isprintable()
        assert json.loads(told)["reasons"] == {"api": HOSTILE}


def test_the_tools_write_through_one_place() -> None:
    folder = Path(bridge.__file__).parent / "cli"
    writes = re.compile(r"\b(typer|click)\.s?echo\(|\bprint\(|std(out|err)\.write\(")
    found = {path.name for path in folder.glob("*.py") if writes.search(path.read_text())}
    assert found == {"shared.py"}
