"""Which partition a key belongs to, as the common Kafka clients compute it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Literal

from aiokafka.partitioner import murmur2 as _murmur2


@lru_cache(maxsize=65_536)  # a run's id comes back with each of its events; hashing is pure Python
def murmur2(key: bytes, count: int) -> int:
    """Partition of `key` among `count`, as the Java client's default partitioner."""
    return (int(_murmur2(key)) & 0x7FFF_FFFF) % count


def crc32(key: bytes, count: int) -> int:
    """Partition of `key` among `count`, as librdkafka's `consistent` partitioner."""
    return zlib.crc32(key) % count


Partitioner = Callable[[bytes, int], int]

PARTITIONERS: Final[Mapping[Literal["murmur2", "crc32", "any"], Partitioner | None]] = {
    "murmur2": murmur2,
    "crc32": crc32,
    "any": None,
}
"""By the name of the setting; None: producers choose as they like."""
