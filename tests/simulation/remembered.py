"""Pure functions of texts that stories call with the same ones over and over: their results.

What is under test stays what it is, and a story only costs less.
"""

from __future__ import annotations

import functools
from typing import Final

from bridge.dev import simulator
from bridge.missions import answers
from bridge.source import convert

MOST: Final = 4096


def remember_all() -> None:
    """Remember what profiles of stories show."""
    for module, name in (
        (simulator, "parse_qsl"),
        (simulator, "formatdate"),
        (answers, "parse_http_date"),
        (convert, "micros"),
        (convert, "digest"),
    ):
        setattr(module, name, functools.lru_cache(MOST)(getattr(module, name)))
