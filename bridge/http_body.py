"""The body of an HTTP answer, decoded as it arrives and never held beyond a limit.

The client library decodes a chunk whole, a thousand times its size at worst, and goes by the label
alone. Intermediaries label what they unpacked, and pack what nobody asked for: the first bytes
decide.
"""

from __future__ import annotations

import zlib
from typing import Final

_PLAIN: Final = frozenset({"", "identity", "utf-8", "utf8"})
_LABELS: Final = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class UnreadableBody(Exception):
    """The body's encoding is unknown or broken, or the body is longer than it may be."""


class BodyDecoder:
    """Takes the parts of a body; `encoding` is what its Content-Encoding says.

    All methods raise UnreadableBody.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        labels = {part.strip().lower() for part in encoding.split(",")} - _PLAIN
        if not labels <= _LABELS or len(labels) > 1:
            raise UnreadableBody(f"content-encoding {encoding!r} was not asked for")
        self._is_deflated = "deflate" in labels
        self._limit = limit
        self._head = b""
        self._taken = 0
        self._unpack: zlib._Decompress | None = None
        self._content = bytearray()

    @property
    def is_full(self) -> bool:
        """Whether there is more than the limit allows."""
        return max(len(self._content), self._taken) > self._limit

    def take(self, chunk: bytes) -> None:
        """Take the next part, of which no more is unpacked than one byte over the limit."""
        if self._taken < len(_GZIP):
            self._head += chunk
            self._taken += len(chunk)
            if self._taken < len(_GZIP):
                return
            self._unpack, chunk = self._unpacker(self._head), self._head
        else:
            self._taken += len(chunk)
        try:
            self._add(chunk)
        except zlib.error as error:
            raise UnreadableBody(str(error)) from error

    def content(self) -> bytes:
        """Return the body up to the limit, without a byte order mark."""
        if self._taken < len(_GZIP):
            self._content += self._head
        elif self._unpack is not None and not self._unpack.eof and not self.is_full:
            raise UnreadableBody("the packed body is not whole")
        return bytes(self._content[: self._limit]).removeprefix(_BYTE_ORDER_MARK)

    def _unpacker(self, head: bytes) -> zlib._Decompress | None:
        if head.startswith(_GZIP):
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        if not self._is_deflated or head.lstrip()[:1] in (b"{", b"["):
            return None
        has_header = head[0] & 15 == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)

    def _add(self, chunk: bytes) -> None:
        """Unpack a part; a gzip body may have several members, and zeros behind them."""
        while chunk and not self.is_full:
            room = self._limit - len(self._content) + 1
            if self._unpack is None:
                self._content += chunk[:room]
                return
            if self._unpack.eof:
                chunk = chunk.lstrip(b"\0")
                if not chunk:
                    return
                if self._is_deflated or not _GZIP.startswith(chunk[:2]):
                    raise UnreadableBody("the packed body is not whole: more stands behind it")
                self._unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
            self._content += self._unpack.decompress(chunk, room)
            chunk = self._unpack.unused_data
