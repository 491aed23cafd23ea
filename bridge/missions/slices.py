"""JSON text cut into the texts of its parts: no objects are built of what is only passed on.

msgspec steps over a value without building it, and checks its syntax; it looks neither at the
encoding nor at the depth, and refuses lone surrogates, so these are seen to here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import msgspec

REFUSED: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for a text that it does not take."""


def check(data: bytes, depth: int) -> None:
    """Raise ValueError unless a text is one JSON value in UTF-8, nested no deeper than `depth`."""
    data.decode()
    if is_deeper(data, depth):
        raise ValueError(f"nested deeper than {depth} levels")
    try:
        _VALUE.decode(data)
    except REFUSED:
        # Same length, same syntax: only the surrogates, which may be alone, are gone.
        _VALUE.decode(_SURROGATE.sub(rb"\\u0000", data))


def members(data: bytes) -> dict[str, bytes]:
    """Return the texts in an object by their names; of a name that comes twice the last counts.

    Raises ValueError for what is no object. The texts may be no JSON where the whole is none.
    """
    try:
        return {name: bytes(text) for name, text in _MEMBERS.decode(data).items()}
    except REFUSED:
        return _Reader(data).members()


def elements(data: bytes) -> list[bytes]:
    """Return the texts in an array; those that are no JSON hide no others.

    Raises ValueError for what is no array, or has no end.
    """
    try:
        return [bytes(text) for text in _ELEMENTS.decode(data)]
    except REFUSED:
        return _Reader(data).elements()


def is_deeper(data: bytes, depth: int) -> bool:
    """Say whether arrays and objects are nested deeper than that; `data` is JSON."""
    if data.count(b"[") + data.count(b"{") <= depth:
        return False
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_ROUND, _NO_MARK)
    # Two quotes with no bracket between them hide none, whether they open or close a string.
    outside = b"".join(_outside(marks.replace(b'""', b"")))
    for _ in range(depth):
        outside = outside.replace(b"()", b"")
        if not outside:
            return False
    return True


def _outside(marks: bytes) -> Iterator[bytes]:
    """Yield what is outside of strings; in steps, as the pieces between quotes are many."""
    is_text = False
    for start in range(0, len(marks), _STEP):
        parts = marks[start : start + _STEP].split(b'"')
        yield b"".join(parts[is_text::2])
        is_text ^= len(parts) % 2 == 0


_VALUE = msgspec.json.Decoder(msgspec.Raw)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_STEP = 2**16
_ROUND = bytes.maketrans(b"[]{}", b"()()")
_NO_MARK = bytes(sorted({*range(256)} - {*b'[]{}"'}))

_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r'[^][{},:"\s]+')
# A string that does not end reaches the end of the text: no position is looked at twice.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+'
_MARK = re.compile(rf"{_STRING}|[][{{}}]", re.DOTALL)


class _Reader:
    """A place in a text, and steps over values by their shape alone."""

    def __init__(self, data: bytes) -> None:
        self._text = data.decode(errors="surrogateescape")
        self._at = 0

    def members(self) -> dict[str, bytes]:
        """Step over the only value, an object."""
        found: dict[str, bytes] = {}
        mark = "" if self._take("{") and self._is_next("}") else ","
        while mark == ",":
            name = self._piece()
            if name[:1] != b'"':
                raise ValueError(f"no name before character {self._at}")
            self._take(":")
            found[json.loads(name)] = self._piece()
            mark = self._take(",}")
        self._finish()
        return found

    def elements(self) -> list[bytes]:
        """Step over the only value, an array."""
        found: list[bytes] = []
        mark = "" if self._take("[") and self._is_next("]") else ","
        while mark == ",":
            found.append(self._piece())
            mark = self._take(",]")
        self._finish()
        return found

    def _take(self, expected: str) -> str:
        """Step over one of the expected characters."""
        self._skip_space()
        mark = self._text[self._at : self._at + 1]
        if not mark or mark not in expected:
            raise ValueError(f"expected one of {expected} at character {self._at}")
        self._at += 1
        return mark

    def _is_next(self, mark: str) -> bool:
        """Step over this character if it comes next."""
        self._skip_space()
        found = self._text.startswith(mark, self._at)
        self._at += found
        return found

    def _piece(self) -> bytes:
        """Step over a value and return its text."""
        self._skip_space()
        start, depth = self._at, 0
        scalar = _SCALAR.match(self._text, start)
        if scalar:
            self._at = scalar.end()
            return self._since(start)
        for mark in _MARK.finditer(self._text, start):
            depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(mark.group(), 0)
            if depth <= 0:
                self._at = mark.end()
                return self._since(start)
        raise ValueError(f"the value at character {start} does not end")

    def _since(self, start: int) -> bytes:
        return self._text[start : self._at].encode(errors="surrogateescape")

    def _finish(self) -> None:
        """Refuse anything but white space in what is left."""
        self._skip_space()
        if self._at != len(self._text):
            raise ValueError(f"more text at character {self._at}")

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
