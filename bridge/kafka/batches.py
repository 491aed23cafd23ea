"""Batches of records as brokers store them, read so that no bytes of anybody can stop a reader.

aiokafka raises in the middle of a fetch where a record does not fit, and expands whatever is
compressed. `Batches` takes the place of its reader of fetched bytes. What cannot be read comes out
as a record whose value is `Undecodable`, at the offset where it is, and reading goes on behind it.

The format is Kafka's record batch of version 2 (Kafka 0.11, 2017), the only one that the brokers
store for producers of transactions.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from aiokafka.record.util import calc_crc32c

from bridge.errors import Undecodable
from bridge.kafka.codecs import LIMIT, Expanded, NotExpanded, expand

LARGEST_RECORD: Final = 2**20
"""Bytes of the largest record that is read: Kafka's own limit, unless a topic's is set higher."""

FETCH_BYTES: Final = 4 * 2**20
"""Expanded bytes of one answer after which the next batches are asked for anew."""

MOST_HEADERS: Final = 20_000
"""Headers of one record; each costs the producer two bytes and us a hundred."""

_MAGIC: Final = 2
_PREFIX: Final = struct.Struct(">qi")
_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_OLD_HEAD: Final = 18
_CRC_FROM: Final = 21
_CODEC, _APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_KEPT: Final = 4 * 1024
_VARINT_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record under the names that aiokafka looks for; `timestamp` in milliseconds."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    checksum: None = field(default=None, init=False)


class Batches:
    """The batches in the bytes of one answer to a fetch, under the names that aiokafka asks for.

    Ends early once FETCH_BYTES were expanded, and before a batch with a wrong checksum that is not
    the first: the reader takes up what it has and asks for the rest.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._read: RecordBatch | None = None
        self._expanded = 0
        self._next = self._cut()

    def size_in_bytes(self) -> int:
        """Bytes of the answer."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether another batch is to be had."""
        if self._next is None or self._read is None:
            return self._next is not None
        self._expanded += self._read.expanded
        self._read.expanded = 0
        return self._expanded < FETCH_BYTES and self._next.validate_crc()

    def next_batch(self) -> RecordBatch | None:
        """Return the next batch."""
        self._read, self._next = self._next, self._cut()
        return self._read

    def _cut(self) -> RecordBatch | None:
        """Return the batch that follows; None where its bytes are not all there."""
        data, begin = self._data, self._at
        if begin + _OLD_HEAD > len(data):
            return None
        _, length = _PREFIX.unpack_from(data, begin)
        end = begin + _PREFIX.size + max(int(length), _OLD_HEAD - _PREFIX.size)
        if end > len(data):
            return None
        self._at = end
        return RecordBatch(data[begin:end])


class RecordBatch:
    """One batch; iterating gives its records. `expanded` is how many bytes that took so far."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.expanded = 0
        self._records: Iterator[StoredRecord] | None = None
        self._valid: bool | None = None
        self._magic = data[16]
        head = (*_PREFIX.unpack_from(data), 0, 0, 0, 0, 0, 0, 0, None, 0, 0, 0)
        if self._magic == _MAGIC and len(data) >= _HEAD.size:
            head = _HEAD.unpack_from(data)
        self.base_offset: int = head[0]
        self._crc: int = head[4]
        self._attributes: int = head[5]
        self._last: int = max(0, head[6])
        self._first_time: int = head[7]
        self._last_time: int = head[8]
        self.producer_id: int | None = head[9]
        self._count: int = head[12]

    @property
    def next_offset(self) -> int:
        """The offset behind the batch."""
        return self.base_offset + self._last + 1

    @property
    def is_control_batch(self) -> bool:
        """Whether it is a marker of the brokers."""
        return bool(self._attributes & _CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return bool(self._attributes & _TRANSACTIONAL)

    def validate_crc(self) -> bool:
        """Whether the bytes are those that the producer sent; of other formats nothing is known."""
        if self._valid is None:
            crc: int = calc_crc32c(bytes(self._data[_CRC_FROM:]))
            self._valid = self._magic != _MAGIC or crc == self._crc
        return self._valid

    def __iter__(self) -> Iterator[StoredRecord]:
        return self._unpacked()

    def __next__(self) -> StoredRecord:
        if self._records is None:
            self._records = self._unpacked()
        return next(self._records)

    def _unpacked(self) -> Iterator[StoredRecord]:
        """Yield the records; each is made when it is asked for."""
        if self._magic != _MAGIC or len(self._data) < _HEAD.size:
            yield self._lost(0, f"a batch of format {self._magic}, which is not read")
            return
        try:
            content = expand(self._attributes & _CODEC, self._data[_HEAD.size :])
        except NotExpanded as error:
            yield self._lost(0, f"a batch that cannot be expanded: {error}")
            return
        self.expanded = len(content.data)
        at = 0
        for index in range(self._count):
            try:
                start, at = _extent(content.data, at)
                record = self._record(content, start, at, index)
            except (IndexError, ValueError) as error:
                why = f"what follows in its batch cannot be read: {error}"
                if not content.whole:
                    why = f"its batch expands to more than {LIMIT} bytes, which are not read"
                yield self._lost(index, why, "unreadable" if content.whole else "too_large")
                return
            yield record

    def _record(self, content: Expanded, start: int, end: int, index: int) -> StoredRecord:
        """Read a record; raises IndexError and ValueError where not even its head can be read."""
        data = content.data
        if end > len(data) or end - start > LARGEST_RECORD:
            return self._outline(content, start, end, index)
        try:
            return self._whole(data, start, end, index)
        except (IndexError, ValueError) as error:
            bytes_ = Undecodable(data[start:end], "unreadable", f"no record: {error}")
            return self._made(index, self._last_time, None, bytes_)

    def _whole(self, data: bytes, start: int, end: int, index: int) -> StoredRecord:
        timestamp, offset, at = self._place(data, start, index)
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        count, at = _varint(data, at)
        if not 0 <= count <= MOST_HEADERS:
            raise ValueError(f"{count} headers, at most {MOST_HEADERS} are read")
        headers: list[tuple[str, bytes | None]] = []
        for _ in range(count):
            name, at = _bytes(data, at)
            content, at = _bytes(data, at)
            headers.append(((name or b"").decode(errors="surrogateescape"), content))
        if at != end:
            raise ValueError(f"it has {end - start} bytes, its parts {at - start}")
        return self._made(offset, timestamp, key, value, tuple(headers))

    def _outline(self, content: Expanded, start: int, end: int, index: int) -> StoredRecord:
        """Read what is left of a record that is too large, or that ends beyond what is there."""
        data = content.data
        timestamp, offset, at = self._place(data, start, index)
        length, at = _varint(data, at)
        key = None if length < 0 else data[at : at + length]
        if key is not None and len(key) > _KEPT:
            key = None
        size, at = _varint(data, at + max(0, length))
        size = max(0, size)
        there = at + size <= len(data)
        with memoryview(data) as view:
            digest = hashlib.sha256(view[at : at + size]).hexdigest() if there else None
        if content.whole and end > len(data):
            raise ValueError(f"a record of {end - start} bytes, of which {len(data) - start} exist")
        why = f"a record of {end - start} bytes, the limit is {LARGEST_RECORD}"
        value = Undecodable(
            data[at : at + min(size, _KEPT)], "too_large", why, length=size, sha256=digest
        )
        return self._made(offset, timestamp, key, value)

    def _place(self, data: bytes, start: int, index: int) -> tuple[int, int, int]:
        """Read timestamp and offset, both as they are counted in the batch."""
        delta, at = _varint(data, start + 1)
        offset, at = _varint(data, at)
        if not index <= offset <= self._last:
            raise ValueError(f"offset {offset} of {self._last}")
        return self._first_time + delta, offset, at

    def _lost(self, offset: int, why: str, reason: str = "unreadable") -> StoredRecord:
        """Return what stands for everything from an offset on: the bytes of the whole batch."""
        raw = Undecodable(bytes(self._data), reason, why)
        return self._made(min(offset, self._last), self._last_time, None, raw)

    def _made(
        self,
        offset: int,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> StoredRecord:
        by_broker = bool(self._attributes & _APPEND_TIME)
        time = self._last_time if by_broker else timestamp
        return StoredRecord(self.base_offset + offset, time, int(by_broker), key, value, headers)


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """Return where a record begins, behind its length, and where it ends."""
    length, start = _varint(data, at)
    if length <= 0:
        raise ValueError("a record without bytes")
    return start, start + length


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Read bytes behind their length, -1 for null."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise ValueError("it ends too early")
    return data[at : at + length], at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag number of 7 bits a byte; raises IndexError at the end, ValueError beyond 64."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
        if shift >= _VARINT_BITS:
            raise ValueError("a number of more than 64 bits")
