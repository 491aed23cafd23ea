"""A checksum of what an event says, by which a change of a published event is told. Pure."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed

_SPACE: Final = b" \t\n\r"
_STEP: Final = 2**16


def checksum(row: Event | Malformed) -> int:
    """Return a CRC-32 of a row's documented fields, never 0; null is the same as absent.

    Fields that the API does not document may change with every answer, and say nothing then.
    White space in a payload between its values does not count, as a server may be built with
    another writer of JSON. The order of names and the spelling of numbers and escapes do count:
    they are part of the text that was published, and to know better would mean to build objects.
    """
    if isinstance(row, Malformed):
        return zlib.crc32(jsontext.dumps(row.raw).encode("utf-8", "surrogatepass")) or 1
    fields = [
        row.event_id,
        row.run_id,
        row.type,
        row.summary,
        row.timestamp,
        row.step_id,
        row.agent_id,
        row.idempotency_key,
    ]
    found = zlib.crc32(msgspec.json.encode(fields))
    return (found if row.payload is None else _payload(row.payload.encode(), found)) or 1


def _payload(text: bytes, found: int) -> int:
    """Go on with two streams: what is outside of strings, less white space, and what is inside."""
    if b"\\" in text:  # so that each quote that is left begins or ends a string
        text = text.replace(b"\\\\", b"\0").replace(b'\\"', b"\1")
    outside, inside, is_text = found, 0, False
    for start in range(0, len(text), _STEP):
        parts = text[start : start + _STEP].split(b'"')
        ends_in_text = is_text ^ (len(parts) % 2 == 0)
        begun, ended = (b'"', b"") if ends_in_text else (b"", b'"')
        plain, quoted = parts[is_text::2], parts[not is_text :: 2]
        if plain:
            outside = zlib.crc32(b'"'.join(plain).translate(None, _SPACE) + begun, outside)
        if quoted:
            inside = zlib.crc32(b'"'.join(quoted) + ended, inside)
        is_text = ends_in_text
    return zlib.crc32(inside.to_bytes(4, "big"), outside)
