"""Running a `mission-bridge` command inside the test: quicker than a process of its own."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest import mock

import structlog

from bridge.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The JSON on each line of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]


def invoke(*arguments: str, env: Mapping[str, str], stdin: str = "") -> Ended:
    """Run a command with this environment alone; not from inside an event loop."""
    out, err = io.StringIO(), io.StringIO()
    words = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    with (
        mock.patch.dict(os.environ, env, clear=True),
        mock.patch.object(sys, "stdin", words),
        redirect_stdout(out),
        redirect_stderr(err),
        logging_as_it_was(),
    ):
        code = main(arguments)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()
