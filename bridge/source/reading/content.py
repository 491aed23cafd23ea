"""A checksum of what an event says, by which a change of a published event is told. Pure."""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL)

_ENCODER: Final = msgspec.json.Encoder()


def checksum(row: Event | Malformed) -> int:
    """Return a CRC-32 of a row's documented fields, never 0; null is the same as absent.

    Fields that the API does not document may change with every answer, and say nothing then.
    White space in a payload between its values does not count, as a server may be built with
    another writer of JSON. The order of names and the spelling of numbers and escapes do count:
    they are part of the text that was published, and to know better would mean to build objects.
    """
    if isinstance(row, Malformed):
        return zlib.crc32(jsontext.dumps(row.raw).encode("utf-8", "surrogatepass")) or 1
    fields = (
        row.event_id,
        row.run_id,
        row.type,
        row.summary,
        row.timestamp,
        row.step_id,
        row.agent_id,
        row.idempotency_key,
    )
    found = zlib.crc32(_ENCODER.encode(fields))
    return (found if row.payload is None else zlib.crc32(_compact(row.payload), found)) or 1


def _compact(payload: str) -> bytes:
    """Return JSON text without white space between its values."""
    text = payload.encode()
    try:
        return msgspec.json.format(text, indent=-1)
    except msgspec.MsgspecError:
        # It takes no surrogate that stands alone.
        return msgspec.json.format(_SURROGATE.sub(_without_u, text), indent=-1)


def _without_u(escape: re.Match[bytes]) -> bytes:
    """Return a surrogate's escape as another escape and text; any other escape as it is."""
    found = escape.group()
    return found if len(found) == 2 else b"\\n" + found[2:]
