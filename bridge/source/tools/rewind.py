"""Events from a time on, found in a list without `since`, and written once more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import RECORD_BYTES, Record, Writer
from bridge.source.identity import short_run
from bridge.source.reading import climb, rising, sweep, windows
from bridge.source.reading.reader import FOREVER, OTHERWISE, ListReader, ServedOtherwise
from bridge.source.reading.windows import BEGINNING, SLACK, Ask, Found, Item, Reading, Window
from bridge.source.tools.access import SourceAccess
from bridge.source.writing.headers import REPLAY

AT_ONCE: Final = 4000
"""Events in one transaction at most."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The events from a time on: how many, and on which pages of the list.

    `linked` is the window that shows where they end: it holds an older event as well, or lies at
    the end of the list. Without one the list is not sorted, and all of it was read.
    """

    events: int
    size: int
    first_page: int
    last_page: int
    linked: Ask | None
    requests: int = 0


async def locate(view: SourceAccess, low: Micros) -> Stretch:
    """Find the events at or above `low` by bisecting pages; nothing is written.

    Raises what the API client raises.
    """
    reader = view.reader()
    for _ in range(OTHERWISE):
        try:
            one = reader.begin(view.feed, _boundary(low, reader))
            found = await reader.drive(one)
        except ServedOtherwise:
            continue
        if found is not None:
            return replace(found, requests=one.requests)
    raise ServedOtherwise(f"{view.feed.what} was served otherwise {OTHERWISE} times")


def _boundary(low: Micros, reader: ListReader) -> Reading[Stretch]:
    if reader.rising:
        return _rising_boundary(low, reader.largest)
    return _falling_boundary(low, reader.largest)


def _falling_boundary(low: Micros, largest: int) -> Reading[Stretch]:
    """Find where the events at or above `low` end, in a list that shows the newest first."""
    offset, step = (yield from climb.locate(low, largest, 0)), SLACK
    while True:
        window = yield windows.window_around(offset, largest, SLACK)
        if not window.is_sorted:
            return (yield from _counted(low, largest))
        newer = sum(1 for item in window.items if item.at >= low)
        if newer < len(window.items) and not newer and window.ask.offset:
            # Events were deleted meanwhile: the boundary moved up.
            offset, step = max(0, window.ask.offset - step), 4 * step
        elif newer < len(window.items) or (yield from windows.is_end(window)):
            events = window.ask.offset + newer
            return Stretch(events, largest, 1, -(-events // largest), window.ask)
        else:
            offset, step = window.ask.offset + window.ask.size, SLACK


def _rising_boundary(low: Micros, largest: int) -> Reading[Stretch]:
    """Find where they begin, in a list that shows the oldest first."""
    offset, step = (yield from rising.locate(low, largest, 0)), SLACK
    while True:
        window = yield windows.window_from(max(0, offset - SLACK), largest)
        older = sum(1 for item in window.items if item.at < low)
        if not older and window.ask.offset:
            offset, step = max(0, window.ask.offset - step), 4 * step
        elif older == len(window.items) == window.ask.size:
            offset, step = window.end + SLACK, SLACK
        else:
            first = window.ask.offset + older
            events, last = max(window.total, window.end) - first, max(window.total, window.end)
            return Stretch(events, largest, first // largest + 1, -(-last // largest), window.ask)


def _counted(low: Micros, largest: int) -> Reading[Stretch]:
    """Read a list that is not sorted to its end, and count."""
    first: Window = yield Ask(1, largest)
    swept = yield from sweep.to_the_end(first, first, {})
    events = sum(1 for item in swept.items if item.at >= low)
    return Stretch(events, largest, 1, -(-swept.total // largest), None)


@dataclass(slots=True)
class Replayed:
    """How far a replay has come; `dead` events cannot be converted and were left out."""

    replay_id: str
    events: int = 0
    transactions: int = 0
    dead: int = 0
    until: Micros | None = None


async def replay(
    view: SourceAccess,
    low: Micros,
    topic: Sequence[TopicPartition],
    tell: Callable[[Replayed], None],
) -> Replayed:
    """Write the events at or above `low` once more, oldest first, to all partitions of a topic.

    They have the header bridge_replay_id; no checkpoint is read back or touched. `tell` is called
    after each transaction. Raises StateError, what the API client raises, KafkaAway, RegistryAway,
    TransactionLost.
    """
    replay_id = str(uuid.uuid4())
    prefix = view.settings.kafka.topic_prefix
    is_own = topic[0].topic == view.desk.layout.events
    marks = await _marks(view) if is_own else Marks()
    writer = await view.writer(f"mission-bridge.{prefix}.replay.{replay_id}")
    writing = _Replay(view, writer, topic, marks, Replayed(replay_id), tell)
    try:

        async def found(one: Found) -> None:
            await writing.take([item for item in one.items if item.at >= low])

        await view.read(view.feed, low, found)
        await writing.finish()
    finally:
        await writer.close()
    return writing.done


@dataclass(slots=True)
class Marks:
    """What was written before to the topic: the newest event of each run.

    Of runs that are not known everything before `closed` is older than something that was.
    """

    newest: dict[str, Micros] = field(default_factory=dict)
    closed: Micros = BEGINNING

    def before(self, item: Item) -> Micros:
        """Return the newest time of an item's run."""
        otherwise = FOREVER if item.at < self.closed else BEGINNING
        return self.newest.get(short_run(item.run_id), otherwise)

    def note(self, item: Item) -> None:
        """Take note that an item is written."""
        self.newest[short_run(item.run_id)] = max(self.before(item), item.at)


async def _marks(view: SourceAccess) -> Marks:
    checkpoint = await view.desk.look()
    newest = {run: summary.newest for run, summary in checkpoint.runs.items()}
    kept_from = checkpoint.position.kept_from
    return Marks(newest, BEGINNING if kept_from is None else kept_from)


@dataclass(slots=True)
class _Replay:
    """Collects events and writes them, each once, some thousands to a transaction."""

    view: SourceAccess
    writer: Writer
    topic: Sequence[TopicPartition]
    marks: Marks
    done: Replayed
    tell: Callable[[Replayed], None]
    waiting: list[Item] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    async def take(self, items: Sequence[Item]) -> None:
        """Take events, oldest first; those that were taken before do not count."""
        for item in items:
            if item.digest not in self.seen:
                self.seen.add(item.digest)
                self.waiting.append(item)
        while len(self.waiting) >= AT_ONCE:
            part, self.waiting = self.waiting[:AT_ONCE], self.waiting[AT_ONCE:]
            await self._write(part)

    async def finish(self) -> None:
        """Write what is left."""
        part, self.waiting = self.waiting, []
        if part:
            await self._write(part)

    async def _write(self, items: Sequence[Item]) -> None:
        await self.view.index.learn({item.run_id for item in items})
        made = [self._record(item) for item in items]
        records = [record for record in made if record is not None]
        await self.writer.commit(records)
        self.done.events += len(records)
        self.done.dead += len(items) - len(records)
        self.done.transactions += 1
        self.done.until = items[-1].at
        self.tell(self.done)

    def _record(self, item: Item) -> Record | None:
        """Return an event's record for the topic; None: it cannot be converted."""
        page = f";page={item.ask.page};size={item.ask.size}" if item.ask else ""
        origin = f"source={self.view.source.name};pass=replay{page}".encode()
        mission_id, now = self.view.index.get(item.run_id), self.view.clock.now()
        late = self.marks.before(item) > item.at
        made, is_event = self.view.publisher.event(item, mission_id, now, origin, late=late)
        at = self.topic[murmur2(made.key or b"", len(self.topic))]
        headers = (*made.headers, (REPLAY, self.done.replay_id.encode()))
        record = msgspec.structs.replace(
            made, topic=at.topic, partition=at.partition, headers=headers
        )
        if not is_event or record.size > RECORD_BYTES:
            return None
        self.marks.note(item)
        return record
