"""A fast encoder for flat records, generated from a schema.

It writes what fastavro writes, or raises: whatever is not of the very type that the schema names is
left to fastavro, which encodes it or says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final

Encode = Callable[[Mapping[str, Any]], bytes]

UNFIT: Final = (TypeError, AttributeError, KeyError, ValueError, IndexError)
"""What an encoder raises for a value that is left to fastavro: no verdict on that value."""

_HALF: Final = 14
"""Bits in two bytes of a varint, which has seven in each, the lowest first."""

_MASK: Final = 2**_HALF - 1


def encoder_of(schema: Mapping[str, Any], head: bytes) -> Encode | None:
    """Return an encoder of a record, given its schema as fastavro parsed it.

    None where a field is other than boolean, long, string, or string or null. What the encoder
    returns begins with `head`. It raises one of UNFIT for values of other types, fields that are
    left out or unknown, and texts of more than 8,191 bytes.
    """
    fields = schema["fields"]
    steps: list[str] = []
    parts = ["head"]
    for number, field in enumerate(fields):
        step = _STEPS.get(str(field["type"]))
        if step is None or len(fields) < 2:
            return None
        steps += [line.replace("$", str(number)) for line in step]
        parts += [f"h{number}", f"v{number}"]
    names = ", ".join(f"v{number}" for number in range(len(fields)))
    # Only numbers are put into this code: names of fields are handed over as they are.
    lines = [f"if len(value) != {len(fields)}: raise ValueError", f"{names} = values_of(value)"]
    lines += [*steps, f"return join(({', '.join(parts)}))"]
    scope: dict[str, Any] = {
        "head": head,
        "join": b"".join,
        "sizes": _SIZES,
        "sizes_of_some": [b"\2" + size for size in _SIZES],
        "values_of": itemgetter(*(field["name"] for field in fields)),
        "varint": _varint,
        "high": _BEGINNINGS,
        "last": _SHORT,
    }
    exec("\n    ".join(["def encode(value):", *lines]), scope)  # noqa: S102 - see above
    encode: Encode = scope["encode"]
    return encode


def _varint(number: int) -> bytes:
    """Return a number of at most 64 bits, without a sign, as a varint."""
    if number >> 64:
        raise ValueError
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SHORT: Final = [_varint(number) for number in range(2**_HALF)]
_SIZES: Final = _SHORT[::2]
"""Lengths of texts, which are written as numbers with a sign: doubled."""

_BEGINNINGS: Final = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(2**_HALF)]
"""The first, second or third two bytes of a longer number."""

_BOOLEAN: Final = (
    r"if v$ is True: v$ = b'\1'",
    r"elif v$ is False: v$ = b'\0'",
    "else: raise TypeError",
    "h$ = b''",
)
_LONG: Final = (
    "if type(v$) is not int: raise TypeError",
    "v$ = v$ << 1 if v$ >= 0 else ~v$ << 1 | 1",
    # Eight bytes, as microseconds have since 1970; any other number as well, but slower.
    f"if {1 << 3 * _HALF} <= v$ < {1 << 4 * _HALF}:",
    f"    h$ = high[v$ & {_MASK}] + high[v$ >> {_HALF} & {_MASK}]",
    f"    v$ = high[v$ >> {2 * _HALF} & {_MASK}] + last[v$ >> {3 * _HALF}]",
    "else: h$, v$ = b'', varint(v$)",
)
_STRING: Final = ("v$ = v$.encode()", "h$ = sizes[len(v$)]")
_OPTIONAL: Final = (
    r"if v$ is None: h$ = b'\0'; v$ = b''",
    "else:",
    "    v$ = v$.encode()",
    "    h$ = sizes_of_some[len(v$)]",
)
_STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "boolean": _BOOLEAN,
    "long": _LONG,
    "string": _STRING,
    "['null', 'string']": _OPTIONAL,
}
"""By type of field: how value v becomes bytes v that follow bytes h."""
