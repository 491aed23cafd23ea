"""The events of one transaction as digests: what a segment of the checkpoint packs. Pure."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from bridge.clock import Micros

ENTRY: Final = struct.Struct(">16sqI")
ENTRY_1: Final = struct.Struct(">16sq")
"""Of version 1, which had no checksum."""

CONTENT: Final = 1
"""What checksums are of: `content.checksum`. Whoever changes that function raises this number."""

UNDATED: Final[Micros] = 2**62
"""Stands for the time of an event that shows none."""


class SegmentEntry(msgspec.Struct, frozen=True, gc=False):
    """One event: its digest, its timestamp (or UNDATED), the CRC-32 of its content (0: unknown)."""

    digest: bytes
    at: Micros
    checksum: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The events of one transaction, packed, with what links them to the segment before.

    `settled` is the time below which sweeps must no longer read before it may expire. `runs` are
    the newest timestamps of runs, in segments of version 1 only. `content` says what the checksums
    are of: only those of CONTENT can be compared.
    """

    batch: int
    entries: bytes
    settled: Micros
    previous: bytes
    chain: bytes
    version: int
    runs: dict[str, Micros]
    content: int

    @classmethod
    def pack(
        cls, before: bytes, batch: int, events: list[SegmentEntry], settled: Micros
    ) -> Segment:
        """Make the segment `batch`, which follows the chain hash `before`."""
        packed = b"".join(ENTRY.pack(one.digest, one.at, one.checksum) for one in events)
        chain = cls.link(before, batch, packed, {})
        return cls(batch, packed, settled, before, chain, 2, {}, CONTENT)

    def unpack(self) -> Iterator[SegmentEntry]:
        """Yield its events; a checksum that cannot be compared is not known."""
        if self.version == 1:
            for one, at in ENTRY_1.iter_unpack(self.entries):
                yield SegmentEntry(one, at, 0)
            return
        for one, at, checksum in ENTRY.iter_unpack(self.entries):
            yield SegmentEntry(one, at, checksum if self.content == CONTENT else 0)

    @property
    def is_sound(self) -> bool:
        """Whether it is what was written: its hash fits, and its length."""
        if not 0 <= self.batch < 2**63:
            return False
        entry = ENTRY_1 if self.version == 1 else ENTRY
        chain = self.link(self.previous, self.batch, self.entries, self.runs)
        return chain == self.chain and len(self.entries) % entry.size == 0

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
