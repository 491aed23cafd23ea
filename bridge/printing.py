"""What is shown on terminals and in logs: nothing in it may move the cursor or change the order.

Records and the API's answers hold what anyone wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def printable(text: str) -> str:
    """Return a text with escapes in place of control, format and separator characters."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )


def to_json(value: Any, *, default: Callable[[Any], Any] | None = None) -> str:
    """Return a value as JSON on one line, in which the same characters are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)
    if text.isprintable():
        return text
    # What is not printable is inside a text: ASCII escapes of JSON stand for the same.
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]
