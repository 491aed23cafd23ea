"""Servers for the demo and the tests that live exactly as long as whoever started them.

Each server belongs to a keeper, a small process of its own that starts it, says where it listens,
waits for the end of its standard input, ends the server and removes its data. The pipe closes
however the owner ends, by SIGKILL too, so nothing is left running and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from bridge.errors import DependencyAway

_STOP_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1


class KeptServer:
    """A server and its keeper, from the owner's side: a context manager around its life.

    `script` is the file of a module that calls `keep` when it is run. `address` is where the server
    listens and `pids` are its processes, in order.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        self._command = [sys.executable, "-P", script, *arguments]
        self._keeper: subprocess.Popen[str] | None = None
        self.address = ""
        self.pids: list[int] = []

    def start(self) -> Self:
        """Start the server and wait until it answers. Raises DependencyAway with the reason."""
        self._keeper = subprocess.Popen(  # noqa: S603 - our own interpreter and scripts
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt on the terminal is for the owner
        )
        if self._keeper.stdout is None:
            raise AssertionError("a pipe was asked for")
        line = self._keeper.stdout.readline()
        if not line.startswith("{"):
            self.stop()
            raise DependencyAway(line.strip() or f"{' '.join(self._command)} ended without a word")
        ready = json.loads(line)
        self.address, self.pids = ready["address"], ready["pids"]
        return self

    def stop(self) -> None:
        """End the server and wait until its data is gone.

        Called from another thread while the server starts, it makes `start` raise DependencyAway.
        """
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        keeper.terminate()  # it may be fetching something, and not look at its input for minutes
        for pipe in (keeper.stdin, keeper.stdout):
            if pipe is not None:
                pipe.close()
        try:
            keeper.wait(2 * _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()
            keeper.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Server:
    """One run of a server, from the keeper's side: its folder, log and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start one process of the server in the folder, its output in `log`."""
        with log.open("wb") as output:
            self.processes.append(
                subprocess.Popen(  # noqa: S603 - commands of the modules beside this one
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                    env=environment,
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - a keeper has one thread
                )
            )

    def wait_until(self, ready: Callable[[], bool], log: Path, seconds: float) -> None:
        """Wait until `ready`. Raises DependencyAway with the end of the log."""
        for _ in range(round(seconds / 0.05)):
            if ready():
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[-1].wait(0.05)
                break
        tail = " | ".join(log.read_text(errors="replace").splitlines()[-5:])
        raise DependencyAway(f"the server did not start: {tail}")

    def end(self) -> None:
        """End all processes and remove the folder."""
        for process in self.processes:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a stopped process would not see it
        for process in self.processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def keep(start: Callable[[Server], str]) -> NoReturn:
    """Be the keeper: start a server, print where it listens, end it when standard input ends.

    `start` starts the server in its folder and returns its address when it answers.
    """
    signal.signal(signal.SIGTERM, _exit_once)
    memory = Path("/dev/shm")  # noqa: S108 - a private folder in it, see mkdtemp
    where = memory if os.access(memory, os.W_OK) else None
    server = Server(Path(tempfile.mkdtemp(prefix="mission-bridge-", dir=where)))
    try:
        try:
            address = start(server)
            pids = [process.pid for process in server.processes]
            _say(json.dumps({"address": address, "pids": pids}))
            sys.stdin.read()
        except DependencyAway as error:
            _say(str(error))
        finally:  # the signal may still arrive here, so the end is one step further out
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        server.end()
    sys.exit(0)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that are free now, for servers that cannot choose their own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _exit_once(*_: object) -> NoReturn:
    """End in good order; a second signal must not cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _say(line: str) -> None:
    sys.stdout.write(line.replace("\n", " ") + "\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    """Ask Linux to end this process when the keeper is killed; elsewhere there is no such thing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
