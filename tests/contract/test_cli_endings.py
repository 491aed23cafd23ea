"""How the tools end: whatever they opened is closed, and nothing is told of it on stderr."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator

import pytest
from support.brokers import Broker
from support.kafka import Sent, delete_topics, read_topic, write_topic
from support.stage import COMMAND, Stage, stage, wait_for

LETTERS = 3
SINCE = "2020-01-01T00:00:00Z"
LEFT_OPEN = ("Task", "Unclosed", "Warning", "Traceback", "never", "Exception")


@pytest.fixture(scope="module")
def on(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Events, a command that was carried out, and dead letters of both sides; no bridge."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, tmp_path_factory.mktemp("stage"), events=30) as made:
        made.insert(item_text='{"event_id":7}')
        bridge = made.run().ready()
        mission = str(made.events()[0]["mission_id"])
        made.command(
            *("send", "start_run", "--mission-id", mission, "--command-id", "c1", "--wait", "60")
        )
        junk = [Sent(b"k", b"junk")] * LETTERS
        write_topic(made.broker, f"{prefix}.commands", junk)
        wait_for(lambda: len(read_topic(made.broker, f"{prefix}.commands.dlq")) == LETTERS)
        wait_for(lambda: bridge.source()["complete_until"])
        assert bridge.stop() == 0
        yield made
    delete_topics(kafka.address, prefix)


@pytest.mark.parametrize(
    "command",
    [
        "dlq list",
        "dlq list events",
        "dlq show {partition}:0",
        "dlq replay --limit 1 --dry-run",
        "dlq replay --limit 1",
        "tail events --from earliest --limit 1",
        "tail commands.dlq --from earliest --no-follow",
        "audit",
        f"audit --since {SINCE}",
        "why {event}",
        "why c1",
        "why nobody",
        "offsets show",
        f"offsets rewind --to {SINCE} --dry-run",
        "repair --dry-run",
        "commands status",
        "topics plan",
        "schemas check",
    ],
)
def test_a_tool_closes_what_it_opened(on: Stage, command: str) -> None:
    (letter, *_) = read_topic(on.broker, f"{on.prefix}.commands.dlq")
    event = next(str(one["event_id"]) for one in on.events() if one["event_id"])
    arguments = command.format(partition=letter.partition, event=event).split()
    ended = subprocess.run(
        [COMMAND, *arguments],
        env=on.env(PYTHONWARNINGS="default", PYTHONASYNCIODEBUG="1", BRIDGE_LOG__FORMAT="console"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stderr
    # asyncio's debug mode also tells of steps that took long, which is the machine's affair.
    told = [line for line in ended.stderr.splitlines() if " took " not in line]
    assert not [line for line in told if any(word in line for word in LEFT_OPEN)], ended.stderr
