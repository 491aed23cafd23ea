"""Expanding what producers compressed, never to more than LIMIT bytes.

A few hundred bytes can stand for gigabytes, and brokers look at compressed sizes only.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cramjam

LIMIT: Final = 32 * 2**20
"""Most bytes that a batch is expanded to; producers fill batches to 1 MB unless told otherwise."""

_XERIAL: Final = b"\x82SNAPPY\0"
_XERIAL_HEADER: Final = 16


class NotExpanded(Exception):
    """Bytes that are not what their codec writes, or a codec that nobody here knows."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """The beginning of what was compressed; all of it if `whole`."""

    data: bytes
    whole: bool


def expand(codec: int, data: memoryview) -> Expanded:
    """Return what a producer compressed with the codec of this number in a batch's attributes.

    Raises NotExpanded.
    """
    known = _CODECS.get(codec)
    if known is None:
        raise NotExpanded(f"there is no codec {codec}")
    name, expander = known
    try:
        return expander(data)
    except (cramjam.DecompressionError, zlib.error, struct.error, ValueError) as error:
        raise NotExpanded(f"no {name}: {error}") from error


@dataclass
class _Scratch:
    """Memory that is used again and again: the codecs write up to its end and no further."""

    space: bytearray = field(default_factory=bytearray)

    def expand(self, codec: Any, data: memoryview) -> Expanded:
        if not self.space:
            self.space = bytearray(LIMIT)
        try:
            size: int = codec.decompress_into(bytes(data), self.space)
        except cramjam.DecompressionError as error:
            if "whole buffer" not in str(error):
                raise
            return Expanded(bytes(self.space), whole=False)
        with memoryview(self.space) as view:
            return Expanded(bytes(view[:size]), whole=True)


_SCRATCH = _Scratch()


def _plain(data: memoryview) -> Expanded:
    return Expanded(bytes(data), whole=True)


def _gzip(data: memoryview) -> Expanded:
    parts: list[bytes] = []
    room, rest = LIMIT, bytes(data)
    while rest:  # one member after the other
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(rest, room))
        room -= len(parts[-1])
        if not member.eof:
            if room > 0:
                raise ValueError("it ends too early")
            return Expanded(b"".join(parts), whole=False)
        if room == 0 and member.unused_data:
            return Expanded(b"".join(parts), whole=False)
        rest = member.unused_data
    return Expanded(b"".join(parts), whole=True)


def _snappy(data: memoryview) -> Expanded:
    if bytes(data[: len(_XERIAL)]) != _XERIAL:
        return _snappy_block(data, LIMIT)
    parts: list[bytes] = []
    room, at = LIMIT, _XERIAL_HEADER
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if not 0 < size <= len(data) - at:
            raise ValueError("it ends too early")
        block = _snappy_block(data[at : at + size], room)
        parts.append(block.data)
        if not block.whole:
            return Expanded(b"".join(parts), whole=False)
        room -= len(block.data)
        at += size
    return Expanded(b"".join(parts), whole=True)


def _snappy_block(block: memoryview, room: int) -> Expanded:
    """Expand one block, or nothing of it: it says first how long it gets."""
    given = bytes(block)
    if cramjam.snappy.decompress_raw_len(given) > room:
        return Expanded(b"", whole=False)
    return Expanded(bytes(cramjam.snappy.decompress_raw(given)), whole=True)


_CODECS: Final[Mapping[int, tuple[str, Callable[[memoryview], Expanded]]]] = {
    0: ("plain batch", _plain),
    1: ("gzip", _gzip),
    2: ("snappy", _snappy),
    3: ("lz4", lambda data: _SCRATCH.expand(cramjam.lz4, data)),
    4: ("zstd", lambda data: _SCRATCH.expand(cramjam.zstd, data)),
}
"""By the number in a batch's attributes: the codec's name, and what expands it."""
