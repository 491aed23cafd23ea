"""Puts another checkpoint in the place of a source's own, in as many transactions as it takes.

The first one brings a segment that no frontier speaks of, the last one takes it away: in between
the checkpoint is refused, whatever else is there. So one that ends early leaves nothing that is
half accepted, and is begun again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bridge.kafka.producer import Record, Writer
from bridge.source.checkpoint import NO_CHAIN
from bridge.source.checkpoint_records import Record as StateRecord
from bridge.source.checkpoint_records import concerns, segment_record
from bridge.source.segment import Segment
from bridge.source.view import View

GUARD: Final = 0
"""Number of that segment; real ones are counted from 1."""

AT_ONCE: Final = 2_000_000
"""Bytes of records in one transaction, about."""


class Replacement:
    """The place of a source's checkpoint, taken over; `stored` is what was there, undecoded."""

    def __init__(self, view: View, writer: Writer, stored: dict[str, bytes]) -> None:
        self.stored = stored
        self._view = view
        self._writer = writer
        self._guard = segment_record(view.source.name, Segment.pack(NO_CHAIN, GUARD, [], 0))

    @classmethod
    async def begin(cls, view: View, writer: Writer) -> Replacement:
        """Claim the source and read what is there; nothing else is changed yet.

        Raises KafkaAway, Fenced, TransactionLost.
        """
        claim = await view.desk.claim(writer, view.publisher)
        return cls(view, writer, await stored(view, claim))

    async def refuse(self, frontier: StateRecord) -> None:
        """Let what is there be refused from now on, and write the frontier or delete it."""
        await self._commit([self._guard, frontier])

    async def write(self, records: Sequence[StateRecord]) -> None:
        """Write records, and delete everything else but the frontier."""
        keys = {self._guard[0], f"frontier/{self._view.source.name}", *(key for key, _ in records)}
        old = [key for key in self.stored if key not in keys and not key.startswith("claim/")]
        for part in _parts(self._records([*records, *((key, None) for key in old)])):
            await self._writer.commit(part)

    async def end(self) -> None:
        """Let what is there be accepted, and give up the claims."""
        claims = [key for key in self.stored if key.startswith("claim/")]
        await self._commit([(self._guard[0], None), *((key, None) for key in claims)])

    async def give_up(self) -> None:
        """Change nothing after all."""
        await self._commit([(key, None) for key in self.stored if key.startswith("claim/")])

    async def _commit(self, state: Sequence[StateRecord]) -> None:
        await self._writer.commit(list(self._records(state)))

    def _records(self, state: Iterable[StateRecord]) -> Iterator[Record]:
        publisher, desk = self._view.publisher, self._view.desk
        for key, value in state:
            subject = f"{desk.layout.checkpoint}-value"
            yield publisher.state(key, None if value is None else desk.codec.encode(subject, value))


async def stored(view: View, claim: bytes | None = None) -> dict[str, bytes]:
    """Return the source's own records, as they are; with a claim up to that."""
    until = None if claim is None else lambda record: record.key == claim
    every = await view.desk.stored(until=until)
    return {key: value for key, value in every.items() if concerns(view.source.name, key)}


def last_batch(stored: Iterable[str]) -> int:
    """Return the highest number of a segment that is stored; 0 without any."""
    numbers = [0]
    for key in stored:
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
