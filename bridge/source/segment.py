"""The events of one transaction as digests: what a segment of the checkpoint packs. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridge.clock import Micros

LONGEST_RUN_ID: Final = 64
"""Bytes of a run's id in a segment at most, which so stays below Kafka's limit for a record."""

ENTRY: Final = struct.Struct(">16sq")


def short_run(run_id: str) -> str:
    """Return a run's id, or a digest of one so long that it would swell the records."""
    raw = run_id.encode("utf-8", "surrogatepass")
    return run_id if len(raw) <= LONGEST_RUN_ID else hashlib.sha256(raw).hexdigest()


def digest(run_id: str, event_id: str) -> bytes:
    """Return the 16 bytes that stand for an event; lengths first, so that no two pairs collide."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (run_id, event_id)]
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big") + part)
    return hasher.digest()


@dataclass(frozen=True, slots=True)
class Segment:
    """The events of one transaction: packed digests and timestamps, and each run's newest."""

    batch: int
    entries: bytes
    settled: Micros
    runs: dict[str, Micros]
    previous: bytes
    chain: bytes

    def unpack(self) -> Iterator[tuple[bytes, Micros]]:
        """Yield (digest, timestamp) of each event."""
        return ENTRY.iter_unpack(self.entries)

    @staticmethod
    def link(before: bytes, batch: int, entries: bytes, runs: dict[str, Micros]) -> bytes:
        """Return the chain hash of a segment that follows the chain `before`."""
        hasher = hashlib.blake2b(before, digest_size=16)
        hasher.update(batch.to_bytes(8, "big") + entries)
        for run_id, newest in sorted(runs.items()):
            name = run_id.encode("utf-8", "surrogatepass")
            hasher.update(
                len(name).to_bytes(8, "big") + name + newest.to_bytes(8, "big", signed=True)
            )
        return hasher.digest()
