"""The examples do what they say, with clients that nobody here wrote."""

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence

import pytest
from support.brokers import Broker
from support.examples import EXAMPLES
from support.kafka import delete_topics
from support.stage import Stage, stage

README = (EXAMPLES.parent / "README.md").read_text()


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A bridge that carries out commands."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=10) as made:
        made.run("--only", "commands").ready()
        yield made
    delete_topics(kafka.address, prefix)


def run(on: Stage, command: Sequence[str], mission_id: str) -> subprocess.CompletedProcess[str]:
    arguments = [*command, on.broker, on.registry_url, mission_id, on.prefix]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=150, check=False)


def expect_a_run_is_started(on: Stage, command: Sequence[str]) -> None:
    """Run an example twice: for a mission that there is, and for one that there is not."""
    before = len(on.effects())
    done = run(on, command, str(on.events()[0]["mission_id"]))
    assert done.returncode == 0, done.stderr
    (effect,) = on.effects()[before:]
    assert effect["operation"] == "start_run"
    for name in ("command_id", "run_id"):
        assert re.search(rf'"{name}": "{effect[name]}"', done.stdout), done.stdout
    refused = run(on, command, str(uuid.uuid4()))
    assert refused.returncode == 1, refused.stderr
    assert '"status": "REJECTED"' in refused.stdout


def test_a_command_is_sent_with_confluent_kafka(on: Stage) -> None:
    expect_a_run_is_started(on, [sys.executable, str(EXAMPLES / "send_command.py")])


def test_a_command_is_sent_from_java(on: Stage, java_example: list[str]) -> None:
    expect_a_run_is_started(on, java_example)


def test_every_example_is_in_the_readme() -> None:
    for path in EXAMPLES.iterdir():
        assert f"examples/{path.name}" in README
