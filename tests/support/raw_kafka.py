"""Batches as any client may make them, and their way to a broker: no library of ours looks on."""

import gzip
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cramjam
from aiokafka.codec import snappy_encode
from aiokafka.record.util import calc_crc32c

CODECS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "snappy": snappy_encode,
    "lz4": lambda data: bytes(cramjam.lz4.compress(data)),
    "zstd": lambda data: bytes(cramjam.zstd.compress(data)),
}
"""By name, in the order of their numbers."""


@dataclass(frozen=True)
class Raw:
    """A record; names of headers are bytes."""

    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()


def varint(number: int) -> bytes:
    """Write a zigzag number of 7 bits a byte."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def sized(data: bytes | None) -> bytes:
    """Write bytes behind their length."""
    return varint(-1) if data is None else varint(len(data)) + data


def record(raw: Raw, offset: int, *, timestamp: int = 0) -> bytes:
    """Write a record of a batch."""
    headers = b"".join(sized(name) + sized(value) for name, value in raw.headers)
    own = b"\0" + varint(timestamp) + varint(offset) + sized(raw.key) + sized(raw.value)
    return sized(own + varint(len(raw.headers)) + headers)


def batch(
    records: Sequence[Raw] | bytes,
    codec: str = "none",
    *,
    base: int = 0,
    count: int | None = None,
    packed: bytes | None = None,
    attributes: int | None = None,
    time: int = 1_700_000_000_000,
    producer: int = -1,
) -> bytes:
    """Write a batch; `records` as bytes need their `count`, `packed` takes their place as it is."""
    if isinstance(records, bytes):
        content = records
    else:
        content = b"".join(record(raw, offset) for offset, raw in enumerate(records))
        count = len(records) if count is None else count
    assert count is not None
    if packed is None:
        packed = CODECS[codec](content)
    if attributes is None:
        attributes = list(CODECS).index(codec)
    checked = struct.pack(">hiqqqhii", attributes, count - 1, time, time, producer, -1, -1, count)
    checked += packed
    crc = calc_crc32c(checked)
    return struct.pack(">qiibI", base, len(checked) + 9, 0, 2, crc) + checked


def produce(address: str, topic: str, partition: int, data: bytes) -> None:
    """Hand a batch to the broker that leads the only copy of a partition."""
    name = topic.encode()
    body = struct.pack(">hhih3s", 0, 7, 1, 3, b"raw")
    body += struct.pack(">hhi", -1, -1, 30_000)
    body += struct.pack(f">ih{len(name)}sii", 1, len(name), name, 1, partition)
    body += struct.pack(">i", len(data)) + data
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = connection.makefile("rb")
        (size,) = struct.unpack(">i", answer.read(4))
        told = answer.read(size)
    error: int = struct.unpack_from(">h", told, 4 + 4 + 2 + len(name) + 4 + 4)[0]
    assert error == 0, f"the broker answers error {error}"
