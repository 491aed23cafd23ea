"""Bugs put in on purpose into what is committed and read back. Each is made from the original."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from aiokafka import TopicPartition

from bridge.clock import SECOND, Micros
from bridge.kafka.producer import Record
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.segment import Segment, SegmentEntry
from bridge.source.checkpoint.state import Batch, Checkpoint
from bridge.source.reading.windows import BEGINNING, Item
from bridge.source.writing.publish import Publisher
from simulation.process import LAYOUT

Original = Callable[..., Any]


def expire_early(original: Original) -> Original:
    def plan(self: Checkpoint, *items: Any, keep: Micros, **options: Any) -> Any:
        return original(self, *items, keep=keep + 70 * SECOND, **options)

    return plan


def carry_nothing(original: Original) -> Original:
    def plan(self: Checkpoint, *items: Any, server_time: Micros, **options: Any) -> Batch:
        batch: Batch = original(self, *items, server_time=server_time, **options)
        items_ = [one.item for one in batch.fresh]
        entries = [SegmentEntry(item.digest, item.at, item.checksum) for item in items_]
        return replace(batch, segment=self._segment(entries, server_time))

    return plan


def drop_what_is_late(original: Original) -> Original:
    def new(self: Checkpoint, items: Sequence[Item], *rest: Any, **options: Any) -> Any:
        frontier = self.position.frontier
        kept = [item for item in items if frontier is None or item.at >= frontier]
        return original(self, kept, *rest, **options)

    return new


def nobody_is_late(original: Original) -> Original:
    def event(self: Publisher, *item: Any, late: object) -> Any:
        return original(self, *item, late=False)

    return event


def seen_is_forgotten(original: Original) -> Original:
    def remember(self: Checkpoint, segment: Segment) -> None:
        """Know only what the last segments say."""
        original(self, segment)
        old = self.segments.get(segment.batch - 8)
        for one in old.unpack() if old is not None else ():
            self.seen.pop(one.digest, None)

    return remember


def expired_is_new(_: Original) -> object:
    def oldest(self: Position) -> Micros:
        return BEGINNING if self.floor is None else self.floor

    return property(oldest)


def the_climb_is_not_kept(original: Original) -> Original:
    def read_back(*where: Any) -> Checkpoint:
        checkpoint: Checkpoint = original(*where)
        checkpoint.position = replace(checkpoint.position, climb=None)
        return checkpoint

    return read_back


def until_the_end(original: Original) -> Original:
    """Read the checkpoint up to the end that readers see, not until the claim is seen."""

    async def read_partition(
        kafka: Any, topic: str, number: int, *, until: Any, **options: Any
    ) -> AsyncIterator[Any]:
        at, consumer = TopicPartition(topic, number), kafka.consumer(group=None)
        await consumer.start()
        end = (await consumer.end_offsets([at]))[at]
        async for record in original(kafka, topic, number, until=None, **options):
            if record.offset < end:
                yield record

    return read_partition


def everything_is_visible(_: Original) -> object:
    return False


def an_id_of_its_own(original: Original) -> Original:
    numbers = count()
    return lambda self, name: f"{original(self, name)}.{next(numbers)}"


def repetitions_do_not_count(original: Original) -> Original:
    async def _counted(self: Any, *request: Any, **where: Any) -> Any:
        before = self.count
        try:
            return await original(self, *request, **where)
        finally:
            self.count = before

    return _counted


def do_not_await(_: Original) -> Original:
    async def _send(self: Any, batches: Sequence[tuple[Any, Any]]) -> None:
        for at, batch in batches:
            await self._producer.send_batch(batch, at.topic, partition=at.partition)

    return _send


def use_it_again(original: Original) -> Original:
    """Go on with the same producer after whatever happened to its transaction."""

    async def open_(_cls: Any, kafka: Any, *where: Any, **options: Any) -> Any:
        writer = getattr(kafka, "writer", None)
        if writer is None:
            writer = kafka.writer = await original(kafka, *where, **options)
        writer._usable = True
        return writer

    return classmethod(open_)  # type: ignore[return-value]


def never_close(_: Original) -> Original:
    async def close(_self: Any) -> None:
        return

    return close


def _split(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    told = [record for record in records if record.topic != LAYOUT.checkpoint]
    return told, [record for record in records if record.topic == LAYOUT.checkpoint]


def events_first(original: Original) -> Original:
    async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
        for part in _split(records):
            await original(self, part, **options)

    return commit


def checkpoint_first(original: Original) -> Original:
    async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
        for part in reversed(_split(records)):
            await original(self, part, **options)

    return commit


def without_reading_back(original: Original) -> Original:
    """Take a lost transaction for aborted: go on from what is in memory."""

    async def take_over(self: Any, *where: Any) -> Any:
        if not hasattr(self.kafka, "remembered"):
            self.kafka.remembered = await original(self, *where)
        return self.kafka.remembered

    return take_over


def without_dead_letters(original: Original) -> Original:
    async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
        told = [record for record in records if record.topic != LAYOUT.dead_letters]
        await original(self, told, **options)

    return commit


def at_once(_: Original) -> Original:
    async def _stand_by(_self: Any, _stop: Any) -> None:
        return

    return _stand_by


_KNOWN: dict[int, dict[bytes, int]] = {}
"""By checkpoint: what was seen when the turn began."""


def look_before_the_turn(original: Original) -> Original:
    async def turn(self: Any) -> Any:
        _KNOWN[id(self.checkpoint)] = dict(self.checkpoint.seen)
        return await original(self)

    return turn


def decide_by_the_turn(original: Original) -> Original:
    def new(self: Checkpoint, *items: Any, **options: Any) -> Any:
        seen, self.seen = self.seen, _KNOWN.get(id(self), self.seen)
        try:
            return original(self, *items, **options)
        finally:
            self.seen = seen

    return new


def commit_unfiltered(_: Original) -> Original:
    async def commit_all(
        self: Any, items: Any, position: Any, proof: Any, findings: Any = ()
    ) -> Any:
        return await self.commit(items, position, proof, findings)

    return commit_all


def the_last_first(original: Original) -> Original:
    return lambda self, records: dict(reversed(original(self, records).items()))


def nothing_is_published(_: Original) -> Original:
    async def published(*_: Any, **_options: Any) -> set[bytes]:
        return set()

    return published
