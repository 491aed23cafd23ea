"""Pure functions of texts that stories call with the same ones over and over: their results.

What is under test stays what it is; a story only costs less.
"""

from __future__ import annotations

import functools
from typing import Any

from bridge.dev import simulator
from bridge.missions import answers
from bridge.source import convert

MOST = 4096


def remember(module: Any, name: str) -> None:
    """Let a module have a function's results remembered."""
    setattr(module, name, functools.lru_cache(MOST)(getattr(module, name)))


def remember_all() -> None:
    """Remember what profiles of stories show."""
    remember(simulator, "parse_qsl")
    remember(simulator, "formatdate")
    remember(answers, "parse_http_date")
    remember(convert, "micros")
    remember(convert, "digest")
