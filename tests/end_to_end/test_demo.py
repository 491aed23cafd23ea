"""The demo as users start it: it proves what it promises, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.stage import COMMAND, wait_for

MARK = "MISSION_BRIDGE_TEST_MARK"


class Demo:
    """A demo without a terminal; whatever it starts with its environment carries a mark."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self._mark = uuid.uuid4().hex
        self._out = folder / "out"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [COMMAND, "demo", "--seconds", str(seconds)],
                env={**os.environ, "TMPDIR": str(self.temporary), MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._out.read_text()

    def says(self, words: str) -> bool:
        assert self.process.poll() is None or words in self.output, self.output
        return words in self.output

    def marked(self) -> dict[int, str]:
        """Processes with the mark and their command lines, where the system shows them (Linux)."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self._mark}".encode() in (entry / "environ").read_bytes():
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = command.decode()
        return found

    def assert_nothing_is_left(self, broker_folder: Path | None) -> None:
        assert self.marked() == {}
        for pid in map(int, re.findall(r"pid (\d+)", self.output)):
            assert not is_bridge(pid), f"bridge {pid} is still there"
        assert list(self.temporary.iterdir()) == []
        assert broker_folder is None or not broker_folder.exists()

    def broker_folder(self) -> Path | None:
        """Where the embedded broker keeps its data."""
        for command in self.marked().values():
            if found := re.search(r"--data-dir (\S+)", command):
                return Path(found[1]).parent
        return None


def is_bridge(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline")
    try:
        return b"bridge.cli" in command.read_bytes()
    except OSError:
        return False


@contextmanager
def demo(folder: Path, seconds: int) -> Iterator[Demo]:
    playing = Demo(folder, seconds)
    try:
        yield playing
    finally:
        if playing.process.poll() is None:
            playing.process.terminate()
            playing.process.wait(60)


def test_it_proves_that_nothing_is_lost_doubled_or_disordered_by_a_kill(tmp_path: Path) -> None:
    with demo(tmp_path, 20) as playing:
        wait_for(lambda: playing.says("the bridge is ready"), 90)
        broker_folder = playing.broker_folder()
        assert broker_folder is not None or sys.platform != "linux"
        assert playing.process.wait(180) == 0, playing.output
        playing.assert_nothing_is_left(broker_folder)
    said = playing.output
    assert "first decoded event on Kafka" in said
    for status in ("running", "paused", "cancelled"):
        assert f"the API shows run A as {status}" in said
    assert re.search(r"kill -9 \d+", said)
    assert "the checkpoint that it left on Kafka" in said
    events = re.search(
        r"events: API showed ([\d,]+) \| on Kafka ([\d,]+) \| missing 0 \| doubled 0 \| "
        r"out of order 0 \| marked late \d+",
        said,
    )
    assert events is not None, said
    assert events[1] == events[2]
    assert int(events[1].replace(",", "")) > 5000
    assert re.search(r"commands: sent (\d+) \| final results \1 \| without a result 0 \|", said)
    assert "effects done twice 0" in said
    assert "PROOF HOLDS" in said


def test_an_interrupt_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, 60) as playing:
        wait_for(lambda: playing.says("result of start_run"), 120)
        broker_folder = playing.broker_folder()
        os.killpg(playing.process.pid, signal.SIGINT)  # as Ctrl-C on a terminal does
        assert playing.process.wait(60) == 130, playing.output
        playing.assert_nothing_is_left(broker_folder)
    assert "nothing is left behind" in playing.output
    assert "Traceback" not in playing.output
