"""Pure functions of texts that stories call with the same ones over and over: their results.

What is under test stays what it is, and a story only costs less.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import httpx._urlparse
import httpx._urls

from bridge.dev.api import simulator
from bridge.missions import answers
from bridge.source.reading import page_items
from bridge.source.writing import convert

MOST: Final = 8192

_COSTLY: Final[tuple[tuple[ModuleType, str], ...]] = (
    (simulator, "parse_qsl"),
    (simulator, "formatdate"),
    (answers, "parse_http_date"),
    (convert, "micros"),
    (page_items, "digest"),
    (httpx._urls, "urlparse"),
    (httpx._urlparse, "urlparse"),
)
"""What profiles of stories show."""

_originals: dict[tuple[ModuleType, str], Callable[..., Any]] = {}


def remember_all() -> None:
    """Remember results from now on; twice is once."""
    for module, name in _COSTLY:
        original = _originals.setdefault((module, name), getattr(module, name))
        setattr(module, name, functools.lru_cache(MOST)(original))


def forget_all() -> None:
    """Put the functions back."""
    for (module, name), original in _originals.items():
        setattr(module, name, original)
    _originals.clear()
