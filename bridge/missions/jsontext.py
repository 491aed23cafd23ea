"""JSON text in and out with nothing lost: numbers keep the digits that were received."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 128
"""How deep arrays and objects may be nested: far below what Python's own stack bears."""

_LONGEST_INT = 640
"""Digits that `int` converts whatever PYTHONINTMAXSTRDIGITS says."""


class Raw:
    """JSON text, or what was meant to be some, that `dumps` writes as it stands.

    Not a dataclass: pydantic would turn one into an object with a field `text`.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.text == self.text

    def __hash__(self) -> int:
        return hash((type(self), self.text))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"


class Number(Raw):
    """A number whose text neither int nor float would repeat, such as 1.10, 1e400 or -0."""

    __slots__ = ()


def loads(data: bytes | str) -> Any:
    """Return the value of a JSON text; bytes must be UTF-8.

    Of a name that comes twice in one object the last value counts. NaN and Infinity are no JSON.

    Raises:
        ValueError: not JSON, not UTF-8, or nested deeper than MAX_DEPTH.
    """
    text = data if isinstance(data, str) else data.decode()
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(value)
    return value


def dumps(value: Any) -> str:
    """Return compact JSON text: order of names kept, numbers as received.

    Lone surrogates are written as escapes, so the text can always be encoded as UTF-8.

    Raises:
        ValueError: a float that is no JSON number (NaN, infinity).
        TypeError: a value of a type that JSON does not have.
    """
    try:
        text = _ENCODER.encode(value)
    except _HasRawError:
        text = _write(value)
    return text if text.isascii() else _SURROGATE.sub(_escape, text)


_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_CONTAINERS = frozenset((dict, list))


def _check_depth(value: Any) -> None:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH + 1):
        if not level:
            return
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) in _CONTAINERS
        ]
    raise ValueError(_TOO_DEEP)


def _float(text: str) -> float | Number:
    value = float(text)
    return value if repr(value) == text else Number(text)


def _int(text: str) -> int | Number:
    return Number(text) if len(text) > _LONGEST_INT or text == "-0" else int(text)


def _constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON value")


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_constant)


class _HasRawError(Exception):
    """The fast encoder met a `Raw`, which it cannot write."""


def _refuse(value: object) -> None:
    if isinstance(value, Raw):
        raise _HasRawError
    raise TypeError(f"{type(value).__name__} is no JSON type")


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse
)


def _write(value: Any) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        members = (f"{_ENCODER.encode(name)}:{_write(item)}" for name, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_write, value)) + "]"
    return _ENCODER.encode(value)


_SURROGATE = re.compile("[\ud800-\udfff]")


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
