"""Whoever reads our output, or does not, neither blocks nor ends what the process does."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bridge.output import QUEUE_BYTES, QueuedOutput

PATIENCE = 20.0
LINE = b"x" * 999 + b"\n"
PROGRAM = [sys.executable, "-m", "bridge.cli"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe: where to read and where to write."""
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with suppress(OSError):  # a test may have closed it
            os.close(end)


def fill(output: QueuedOutput, lost: list[None]) -> int:
    """Write lines until some were dropped; return how many were not."""
    written = 0
    while len(lost) < 5:
        output.write(LINE)
        written += 1
    return written - len(lost)


def test_a_pipe_that_nobody_reads_is_not_waited_for(pipe: tuple[int, int]) -> None:
    lost: list[None] = []
    kept = fill(QueuedOutput(pipe[1], lost=lambda: lost.append(None)), lost)
    assert kept * len(LINE) >= QUEUE_BYTES
    while kept:  # whole lines alone, or a reader would take two halves for one
        assert os.read(pipe[0], len(LINE)) == LINE
        kept -= 1


def test_what_was_dropped_is_told_once_when_the_reader_is_back(pipe: tuple[int, int]) -> None:
    lost: list[None] = []
    told: list[int] = []
    caught_up = threading.Event()

    def tell(count: int) -> None:
        told.append(count)
        caught_up.set()

    output = QueuedOutput(pipe[1], lost=lambda: lost.append(None), told=tell)
    for _ in range(fill(output, lost)):
        os.read(pipe[0], len(LINE))
    assert caught_up.wait(PATIENCE)
    output.write(LINE)
    output.drain(PATIENCE)
    assert told == [len(lost)]


def test_a_pipe_without_a_reader_loses_lines_and_nothing_else(pipe: tuple[int, int]) -> None:
    lost: list[None] = []
    os.close(pipe[0])
    output = QueuedOutput(pipe[1], lost=lambda: lost.append(None))
    for _ in range(3):
        output.write(LINE)
    output.drain(PATIENCE)
    assert len(lost) == 3


def test_a_pipe_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    """Another process that shares the pipe may have made it so."""
    os.set_blocking(pipe[1], False)
    output = QueuedOutput(pipe[1])
    for _ in range(200):
        output.write(LINE)
    for _ in range(200):
        assert os.read(pipe[0], len(LINE)) == LINE


def test_the_end_waits_for_a_reader_within_a_bound(pipe: tuple[int, int]) -> None:
    output = QueuedOutput(pipe[1])
    output.write(b"y" * 500_000)
    ended = threading.Thread(target=output.drain, args=(0.01,))
    ended.start()
    ended.join(PATIENCE)
    assert not ended.is_alive()


def program(*arguments: str, redirect: str) -> subprocess.CompletedProcess[str]:
    """Run the program from a shell that redirects its output."""
    command = f'"$@" {redirect}'
    return subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command, "-", *PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("redirect", ["| true", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_whose_reader_is_gone_ends_as_it_would(redirect: str) -> None:
    ended = program("--help", redirect=redirect)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert program("dance", redirect=redirect).returncode == 64


def test_a_full_disk_is_told() -> None:
    ended = program("--help", redirect="> /dev/full")
    assert ended.returncode == 1
    assert ended.stderr == (
        "mission-bridge: cannot write to standard output: No space left on device\n"
    )


def test_errors_that_cannot_be_told_change_no_exit_code() -> None:
    assert program("dance", redirect="2> /dev/full").returncode == 64
