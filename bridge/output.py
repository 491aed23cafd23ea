"""The process's standard streams, made so that whoever reads them can neither block nor end it.

Standard error is written by a thread behind a bounded queue. Standard output is waited for, because
commands print their results there, but an error on it ends nothing; `run`, which must not wait,
says its one line through a queue too.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, TextIO

from bridge import telemetry

QUEUE_BYTES: Final = 1_000_000
"""How much may wait for a reader; what is beyond it is dropped and counted."""

FLUSH_SECONDS: Final = 1.0
"""How long the end of the process waits for a reader."""

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class QueuedOutput(io.BufferedIOBase):
    """A binary stream whose writes return at once; a thread of its own writes to `descriptor`.

    `lost` is called for each write that was dropped, because the queue was full or the descriptor
    cannot be written to. `told` is called from the thread, with the number of writes dropped since
    the last call, when the reader has caught up.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        lost: Callable[[], None] = lambda: None,
        told: Callable[[int], None] = lambda _count: None,
    ) -> None:
        self._descriptor = descriptor
        self._lost = lost
        self._told = told
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._untold = 0
        self._changed = threading.Condition()
        thread = threading.Thread(target=self._work, name=f"output {descriptor}", daemon=True)
        thread.start()

    def write(self, data: Any) -> int:
        """Queue `data`, all of it or nothing."""
        copy = bytes(data)
        with self._changed:
            fits = not self._queue or self._size + len(copy) <= QUEUE_BYTES
            if fits:
                self._queue.append(copy)
                self._size += len(copy)
                self._changed.notify_all()
        if not fits:
            self._drop()
        return len(copy)

    def drain(self, within: float) -> None:
        """Wait until all is written, for `within` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._queue, within)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tell whether the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def _drop(self) -> None:
        with self._changed:
            self._untold += 1
        self._lost()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue)
                data = self._queue[0]
            untold = 0
            try:
                _write_all(self._descriptor, data)
            except OSError:
                self._drop()
            else:
                with self._changed:
                    if len(self._queue) == 1:
                        untold, self._untold = self._untold, 0
            if untold:
                self._told(untold)
            with self._changed:
                self._queue.popleft()
                self._size -= len(data)
                self._changed.notify_all()


class Stdout(io.FileIO):
    """Standard output of a command: an error on it is kept in `error`, and nothing more is written.

    What the command does goes on to its end, so its exit code stays true.
    """

    error: OSError | None = None

    def __init__(self) -> None:
        super().__init__(_STDOUT, "wb", closefd=False)

    def write(self, data: Any) -> int:
        """Write all of `data`, waiting for the reader."""
        if self.error is None:
            try:
                _write_all(_STDOUT, bytes(data))
            except OSError as error:
                self.error = error
        return len(data)

    @property
    def abandoned(self) -> bool:
        """Whether its reader has left, as `head` does when it has seen enough."""
        return self.error is not None and self.error.errno == errno.EPIPE


def take_over() -> Stdout:
    """Put streams of ours in the place of sys.stdout and sys.stderr, for the rest of the process.

    A standard descriptor that is closed is opened on /dev/null first: else the next socket would
    get its number, and what is printed.
    """
    for descriptor, mode in ((_STDIN, os.O_RDONLY), (_STDOUT, os.O_WRONLY), (_STDERR, os.O_WRONLY)):
        _hold_open(descriptor, mode)
    stdout = Stdout()
    stderr = QueuedOutput(
        _STDERR, lost=telemetry.log_line_dropped, told=telemetry.log_lines_were_dropped
    )
    atexit.register(stderr.drain, FLUSH_SECONDS)
    buffered = io.BufferedWriter(stdout)
    sys.stdout = _text(buffered, sys.stdout, line_buffering=stdout.isatty())
    sys.stderr = _text(stderr, sys.stderr, write_through=True)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(_STDIN, closefd=False))
    return stdout


def nobody_reads() -> bool:
    """Tell whether what is printed gets nowhere any more; for commands that print without end."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, Stdout) and raw.error is not None


def say_once(line: str) -> None:
    """Write one line on standard output without waiting for a reader, and without a failure."""
    queued = QueuedOutput(_STDOUT)
    queued.write(f"{line}\n".encode())
    atexit.register(queued.drain, FLUSH_SECONDS)


def _text(stream: Any, like: TextIO | None, **options: Any) -> io.TextIOWrapper:
    encoding = getattr(like, "encoding", None) or "utf-8"
    errors = getattr(like, "errors", None) or "backslashreplace"
    return io.TextIOWrapper(stream, encoding=encoding, errors=errors, **options)


def _hold_open(descriptor: int, mode: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`; another process may have made the descriptor one that does not wait."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
