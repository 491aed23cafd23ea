"""What waits to be written for a partition, and what of it is left after a lost transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.commands.ledger.position import InputPosition
from bridge.commands.model import Entry
from bridge.kafka.producer import Record

MOST_ITEMS = 2_000
MOST_BYTES = 8 * 2**20
"""Bounds of one transaction: what rides along beyond them takes the next one."""


class Overtaken(Exception):
    """The ledger shows another entry than the one to go on from: decide anew."""


@dataclass(slots=True)
class QueuedWrite:
    """What must become durable together; `completes` is the input offset that it ends.

    `entry` follows on the ledger's entry with the stamp `after`, "" being none. `copies` has the
    copies of results that are owed from then on, by the keys of their records; None: no more.
    """

    entry: Entry | None
    after: str
    records: tuple[Record, ...]
    outputs: tuple[Record, ...]
    completes: int | None
    copies: Mapping[str, Record | None] = field(default_factory=dict)
    durable: asyncio.Future[None] = field(default_factory=asyncio.Future)

    @property
    def size(self) -> int:
        """Bytes of all its records."""
        return sum(record.size for record in (*self.records, *self.outputs))

    def resolve(self) -> None:
        """Tell who waits that it is durable."""
        if not self.durable.done():
            self.durable.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell who waits that it will not be written."""
        if not self.durable.done():
            self.durable.set_exception(error)
            self.durable.exception()  # who waited may be gone, which is no reason for a warning


class Queue:
    """Items in the order in which they came."""

    def __init__(self) -> None:
        self._items: deque[QueuedWrite] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: QueuedWrite) -> None:
        """Add an item."""
        self._items.append(item)

    def take(self) -> list[QueuedWrite]:
        """Remove and return what fits one transaction."""
        batch: list[QueuedWrite] = []
        size = 0
        while self._items and len(batch) < MOST_ITEMS and size < MOST_BYTES:
            batch.append(self._items.popleft())
            size += batch[-1].size
        return batch

    def put_back(self, batch: Sequence[QueuedWrite]) -> None:
        """Return what was taken to its place at the front."""
        self._items.extendleft(reversed(batch))

    def settle(self, stamp_of: Callable[[str], str], position: InputPosition) -> bool:
        """After the ledger was read anew: drop what is written, fail what must be decided anew.

        `stamp_of` a command_id is that of its entry, "" for none. True if anything is left.
        """
        waiting, self._items = self._items, deque()
        for item in waiting:
            entry = item.entry
            stamp = None if entry is None else stamp_of(entry.command_id)
            own = entry is not None and stamp == entry.stamp
            if own if item.completes is None else position.covers(item.completes):
                item.resolve()
            elif own or stamp in (None, item.after):
                self._items.append(item)
            else:
                item.fail(Overtaken())
        return bool(self._items)

    def fail(self, error: Exception) -> None:
        """Fail everything that waits."""
        for item in self._items:
            item.fail(error)
        self._items.clear()
