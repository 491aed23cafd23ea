"""The command line as a whole: exit codes, and words on stderr that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import invoke

from bridge import __version__, errors
from bridge.cli import exit_code


def test_the_version_is_told() -> None:
    ended = invoke("--version", env={})
    assert (ended.code, ended.out) == (0, f"mission-bridge {__version__}\n")


@pytest.mark.parametrize("name", ["run", "simulate", "topics", "schemas", "tail", "send"])
def test_each_command_explains_itself(name: str) -> None:
    ended = invoke(name, "--help", env={})
    assert ended.code == 0
    assert f"mission-bridge {name}" in ended.out
    assert invoke(name, "-h", env={}) == ended


def test_shells_complete_commands() -> None:
    assert "--install-completion" in invoke("--help", env={}).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: mission-bridge"),
        (["topics"], "Usage: mission-bridge topics"),
        (["dance"], "mission-bridge: No such command 'dance'."),
        (["tail"], "mission-bridge tail: Missing argument"),
        (
            ["tail", "events", "--from", "yesterday"],
            "--from, unless earliest, latest or an offset, must be a timestamp",
        ),
        (["tail", "events", "--limit", "0"], "mission-bridge tail: "),
        (["run", "--only", "audits"], "mission-bridge run: "),
        (["run", "--verbose"], "mission-bridge run: No such option"),
        (["send"], "mission-bridge send: give either a verb or --file"),
        (["send", "start_run", "--file", "x"], "give either a verb or --file"),
        (["send", "--file", "x", "--run-id", "y"], "--file holds whole commands"),
        (["send", "--file", "/nowhere"], "cannot read /nowhere: No such file or directory"),
        (["send", "start_run", "--body", "{"], "--body: not JSON"),
        (["send", "start_runs"], "type must be one of create_mission, "),
        (["send", "start_run", "--mission-id", "x"], "mission_id 'x' is no UUID"),
    ],
)
def test_a_wrong_command_line_is_explained_and_exits_64(arguments: list[str], said: str) -> None:
    told = invoke(*arguments, env={})
    assert told.code == errors.EXIT_USAGE
    assert told.out == ""
    assert said in told.err
    assert told.err.endswith("` shows what there is\n") or "Options:" in told.err


def test_mistakes_in_the_configuration_are_listed_and_exit_78(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text("[api]\napi_key = 'KEY0canary'\nrate = 'x'\n")
    told = invoke("run", "--config", str(file), env={})
    assert told.code == errors.EXIT_CONFIG
    assert told.out == ""
    head, *listed = told.err.splitlines()
    assert head == "mission-bridge: 3 problems with the configuration:"
    assert [line.split(":")[0] for line in listed] == [
        f"  - BRIDGE_API__RATE (api.rate in {file})",
        "  - BRIDGE_KAFKA__BOOTSTRAP_SERVERS",
        "  - BRIDGE_REGISTRY__URL",
    ]
    assert "KEY0canary" not in told.err


def test_a_dependency_that_is_away_exits_75() -> None:
    told = invoke("schemas", "check", env={"BRIDGE_REGISTRY__URL": "http://127.0.0.1:1"})
    assert told.code == errors.EXIT_UNAVAILABLE
    assert "the schema registry at http://127.0.0.1:1 gives no usable" in told.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.KafkaAway("x"), 75),
        (errors.TransactionLost("x"), 75),
        (errors.DependencyAway("x"), 75),
        (errors.InvalidRecord("too_large", "x"), 1),
        (errors.ConfigError(["x"]), 78),
        (errors.StateError("x"), 78),
        (errors.GaveUp("x"), 70),
        (errors.Fenced("x"), 70),
    ],
)
def test_an_error_nobody_handled_has_its_exit_code(error: errors.BridgeError, code: int) -> None:
    assert exit_code(error) == code


def test_the_installed_command_passes_the_exit_code_on() -> None:
    command = Path(sys.executable).with_name("mission-bridge")
    ended = subprocess.run([command, "dance"], capture_output=True, check=False)
    assert ended.returncode == errors.EXIT_USAGE
