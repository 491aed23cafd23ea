"""Puts another checkpoint in the place of a source's own, in as many transactions as it takes.

The first one brings a segment that no frontier speaks of, the last one takes it away: in between
the checkpoint is refused, whatever else is there. So one that ends early leaves nothing that is
half accepted, and is begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from bridge.errors import InvalidRecord
from bridge.kafka.producer import Record, Writer
from bridge.source.checkpoint.records import Record as StateRecord
from bridge.source.checkpoint.records import concerns, read_frontier, segment_record
from bridge.source.checkpoint.segment import Segment
from bridge.source.checkpoint.state import NO_CHAIN, Checkpoint
from bridge.source.tools.access import SourceAccess

GUARD: Final = 0
"""Number of that segment; real ones are counted from 1."""

AT_ONCE: Final = 2_000_000
"""Bytes of records in one transaction, about."""


Stored = dict[tuple[int, str], bytes]
"""A source's records, undecoded, by partition and key.

All are on one partition, unless partitions were added to the topic since they were written.
"""


class Replacement:
    """The place of a source's checkpoint, taken over; `stored` is what was there."""

    def __init__(self, view: SourceAccess, writer: Writer, stored: Stored) -> None:
        self.stored = stored
        self._view = view
        self._writer = writer
        self._guard = segment_record(view.source.name, Segment.pack(NO_CHAIN, GUARD, [], 0))

    @classmethod
    async def begin(cls, view: SourceAccess, writer: Writer) -> Replacement:
        """Claim the source and read what is there; nothing else is changed yet.

        Raises KafkaAway, Fenced, TransactionLost.
        """
        claim = await view.desk.claim(writer, view.publisher)
        return cls(view, writer, await read_stored(view, claim))

    async def refuse(self, frontier: StateRecord) -> None:
        """Let what is there be refused from now on, and write the frontier or delete it."""
        await self._writer.commit(list(self._records([self._guard, frontier])))

    async def write(self, records: Sequence[StateRecord]) -> None:
        """Write records, and delete everything else but the frontier and claims."""
        here = self._view.desk.layout.checkpoint_partition
        new = {self._guard[0], f"frontier/{self._view.source.name}", *(key for key, _ in records)}
        old = [
            (partition, key)
            for partition, key in self.stored
            if (partition != here or key not in new) and not key.startswith("claim/")
        ]
        for part in _parts(chain(self._records(records), self._tombstones(old))):
            await self._writer.commit(part)

    async def end(self) -> None:
        """Let what is there be accepted, and give up the claims."""
        accepted = self._records([(self._guard[0], None)])
        await self._writer.commit([*accepted, *self._tombstones(self._claims)])

    async def end_with(self, frontier: StateRecord) -> None:
        """Write the frontier alone and give up the claims, in one transaction; the rest stays."""
        await self._writer.commit([*self._records([frontier]), *self._tombstones(self._claims)])

    async def give_up(self) -> None:
        """Change nothing after all."""
        await self._writer.commit(list(self._tombstones(self._claims)))

    @property
    def _claims(self) -> list[tuple[int, str]]:
        return [(partition, key) for partition, key in self.stored if key.startswith("claim/")]

    def _records(self, state: Iterable[StateRecord]) -> Iterator[Record]:
        publisher, desk = self._view.publisher, self._view.desk
        subject = f"{desk.layout.checkpoint}-value"
        for key, value in state:
            yield publisher.state(key, None if value is None else desk.codec.encode(subject, value))

    def _tombstones(self, names: Iterable[tuple[int, str]]) -> Iterator[Record]:
        topic = self._view.desk.layout.checkpoint
        return (Record(topic, partition, key.encode(), None) for partition, key in names)


async def read_stored(view: SourceAccess, claim: bytes | None = None) -> Stored:
    """Return the source's own records; with a claim those of its partition up to that."""
    desk, found = view.desk, Stored()
    for number in range(desk.layout.checkpoint_partitions):
        claimed = claim is not None and number == desk.layout.checkpoint_partition
        until = (lambda record: record.key == claim) if claimed else None
        for key, value in (await desk.stored(number, until)).items():
            if concerns(view.source.name, key):
                found[number, key] = value
    return found


async def readable_frontier(view: SourceAccess, stored: Stored) -> Checkpoint | None:
    """Return what a source's frontier record says; None if there is none, or it cannot be read.

    The one on the source's partition comes before any other. Raises StateError for a frontier of
    another feed or version.
    """
    name, here = f"frontier/{view.source.name}", view.desk.layout.checkpoint_partition
    found = [(number != here, value) for (number, key), value in stored.items() if key == name]
    if not found:
        return None
    try:
        decoded = await view.desk.codec.decode(
            f"{view.desk.layout.checkpoint}-value", min(found)[1]
        )
    except InvalidRecord:
        return None
    if not decoded["body"][0].endswith(".Frontier"):
        return None
    return read_frontier(view.source.name, view.desk.feed, decoded)


def last_batch(stored: Stored) -> int:
    """Return the highest number of a segment that is stored; 0 without any."""
    numbers = [0]
    for _, key in stored:
        kind, _, number = key.rpartition("/")
        if kind.startswith("seg/") and number.isdecimal():
            numbers.append(int(number))
    return max(numbers)


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += record.size
        if size >= AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
