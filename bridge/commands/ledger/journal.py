"""The one writer of a command partition: reads the ledger, then writes in groups.

    write(...) --.                         one transaction
    write(...) ---+--> queue --> take all ----------------> entries + results + dead letters
    write(...) --'               (next when it ended)       + position + group offset

After a lost transaction the producer is discarded, another opened and the ledger read anew. What
is queued, outcomes of calls above all, is then written on the new one, unless the ledger shows that
it was written already, or that another owner went on with the command in between (`Overtaken`).
Copies of results for other people's topics are no part of this: the transaction holds a record of
each that is owed, and `copies.py` makes them.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence

from aiokafka import TopicPartition

from bridge import telemetry
from bridge.clock import Clock
from bridge.commands.decoder import Decoder
from bridge.commands.ledger.copies import TOO_MANY, Copies
from bridge.commands.ledger.ledger import Ledger
from bridge.commands.ledger.position import InputPosition
from bridge.commands.ledger.reader import LedgerReader
from bridge.commands.ledger.records import Records
from bridge.commands.ledger.replies import Replies
from bridge.commands.ledger.write_queue import Overtaken, Queue, QueuedWrite
from bridge.commands.model import Entry
from bridge.config.models import Settings
from bridge.errors import Again, Fenced, TransactionLost, Unreadable
from bridge.kafka.client import KafkaClient
from bridge.kafka.producer import Record, Writer
from bridge.kafka.resets import Resets

MOST_FORGOTTEN = 500
"""Old commands that one transaction forgets, and long answers that it drops."""

PAUSE = 1.0
"""Seconds before a lost producer is replaced: a frozen owner that wakes learns meanwhile that the
partition is another's."""

UNREADABLE_PAUSE = 30.0
"""Seconds after which a ledger that could not be read is read again: it may have been mended."""


class Journal:
    """Ledger, position and writer of one partition.

    `begin` is the first offset that the topic still has, `since` when the writer was opened
    (monotonic): no other owner announced anything later. `trouble` says why nothing can be written
    now. `stop` ends waiting for the schema registry.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaClient,
        decoder: Decoder,
        replies: Replies,
        clock: Clock,
        partition: int,
        stop: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._clock = clock
        self._partition = partition
        self._stop = stop
        self._input = TopicPartition(settings.topic("commands"), partition)
        self._timeout = settings.kafka.transaction_timeout
        self._queue = Queue()
        self._wake = asyncio.Event()
        self._leaving = False
        self._finishing = False
        self._ended: Exception | None = None
        self._resets = Resets(f"partition {partition}")
        self._reader = LedgerReader(settings, kafka, decoder, clock, self._input, stop)
        self._ledger = Ledger()
        self._position: InputPosition | None = None
        self._ours = False
        self._go_on = asyncio.Event()
        self._copies = Copies(kafka, replies, clock, forget=self._forget, wake=self._wake.set)
        self._codec = decoder.codec
        self.records = Records(settings, decoder.codec, partition)
        self.begin = 0
        self.since = 0.0
        self.is_open = False
        self.trouble: str | None = None

    @property
    def position(self) -> InputPosition:
        """How far the partition was read; known from the first opening on."""
        if self._position is None:
            raise RuntimeError(f"partition {self._partition} was not opened yet")
        return self._position

    @property
    def owned(self) -> bool:
        """Whether this process can still write here, as far as it knows."""
        return self._ours and self._ended is None

    @property
    def busy(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._queue)

    def known(self, command_id: str) -> Entry | None:
        """Return what is durable about a command."""
        return self._ledger.get(command_id)

    async def write(
        self,
        entry: Entry | None = None,
        outputs: Sequence[Record] = (),
        *,
        after: Entry | None = None,
        completes: int | None = None,
    ) -> None:
        """Make an entry and other records durable, with whatever else waits to be written.

        `entry` follows on `after`, `completes` is the input offset that is thereby finished.
        Raises Overtaken when the ledger has another entry than `after`, and what ended the journal.
        """
        if self._ended is not None:
            raise self._ended
        base = after.stamp if after is not None else ""
        if entry is not None and self._stamp(entry.command_id) != base:
            raise Overtaken
        now = self._clock.now()
        copies = self.records.copies(outputs)
        outputs = [record for record in outputs if record not in copies.values()]
        if copies and self._copies.full:
            outputs, copies = self.records.not_copied(outputs, TOO_MANY), {}
        records = [self.records.reply(key, copy, now) for key, copy in copies.items()]
        if entry is not None:
            records.insert(0, self.records.entry(entry, now))
        await self._put(QueuedWrite(entry, base, tuple(records), tuple(outputs), completes, copies))

    def assign(self, *, ours: bool) -> None:
        """Say whether the group gives us the partition.

        While it does not, a lost producer is not replaced, so as not to fence the rightful owner.
        """
        self._ours = ours
        if ours:
            self._go_on.set()
        elif not self._leaving:
            self._go_on.clear()

    def leave(self) -> None:
        """Wait for the group no longer: a producer lost from now on is replaced only if ours."""
        self._leaving = True
        self._go_on.set()

    def finish(self) -> None:
        """End `run` once everything queued is written."""
        self._finishing = True
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """End `run` with this error."""
        self._ended = self._ended or error
        self._wake.set()
        self.leave()

    async def run(self, opened: Callable[[list[Entry]], None]) -> None:
        """Write what is queued until `finish`; `opened` gets the unfinished commands each time.

        Raises:
            Fenced: another owner took over.
            StateError: the ledger does not fit the topic.
            GaveUp: too many transactions were lost.
        """
        copying = asyncio.create_task(self._copies.run(), name=f"commands-{self._partition}-copies")
        copying.add_done_callback(self._copying_ended)
        try:
            while True:
                try:
                    return await self._serve(opened)
                except Again as error:
                    if self._finishing and not self._queue:
                        return None
                    await self._lost(error)
        except Exception as error:
            self.fail(error)
            raise
        finally:
            self.is_open = False
            copying.cancel()
            self._ended = self._ended or Fenced(f"partition {self._partition} was given up")
            self._queue.fail(self._ended)

    async def _serve(self, opened: Callable[[list[Entry]], None]) -> None:
        """Open a producer and write with it until `finish`, or until it is lost."""
        await self._go_on.wait()
        if self._ended is not None:
            raise self._ended
        if not self._ours:
            raise Fenced(f"partition {self._partition} is another's and its producer was lost")
        self._codec.check()
        writer = await Writer.open(
            self._kafka,
            self._transactional_id,
            role="commands",
            clock=self._clock,
            timeout=self._timeout,
        )
        self.since = self._clock.monotonic()
        try:
            await self._open(writer)
            self.is_open, self.trouble = True, None
            opened(self._ledger.unfinished())
            while await self._turn(writer):
                pass
        finally:
            self.is_open = False
            await writer.close()

    async def _turn(self, writer: Writer) -> bool:
        """Write what is queued as one transaction; False when all is written and no more comes."""
        await self._wake.wait()
        self._wake.clear()
        if self._ended is not None:
            raise self._ended
        self._codec.check()
        batch = self._queue.take()
        if not batch:
            return not (self._finishing and self._copies.idle)
        self._wake.set()
        completed = [item.completes for item in batch if item.completes is not None]
        ahead = self.position.with_completed(completed) if completed else None
        old = self._ledger.too_old(self._clock.monotonic(), MOST_FORGOTTEN)
        long = self._ledger.too_long(MOST_FORGOTTEN, self.records.counts[self.records.commands])
        try:
            await self._commit(
                writer,
                [
                    *(record for item in batch for record in item.records),
                    *(self.records.entry(entry, self._clock.now()) for entry in long),
                    *map(self.records.forgotten, old),
                ],
                [record for item in batch for record in item.outputs],
                ahead,
            )
        except BaseException:
            self._queue.put_back(batch)
            raise
        for offset in completed:
            self.position.complete(offset)
        for entry in long:
            self._ledger.shorten(entry)
        for command_id in old:
            self._ledger.forget(command_id)
        for item in batch:
            if item.entry is not None:
                self._ledger.put(item.entry, self._clock.monotonic())
            self._copies.note(item.copies)
            item.resolve()
        return True

    async def _put(self, item: QueuedWrite) -> None:
        self._queue.put(item)
        self._wake.set()
        await item.durable

    async def _forget(self, keys: Sequence[str]) -> None:
        """Make it durable that copies are owed no longer."""
        if self._ended is not None:
            raise self._ended
        records = tuple(map(self.records.forgotten, keys))
        await self._put(QueuedWrite(None, "", records, (), None, dict.fromkeys(keys)))

    def _copying_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.fail(error)

    async def _commit(
        self,
        writer: Writer,
        states: Sequence[Record],
        outputs: Sequence[Record],
        position: InputPosition | None,
    ) -> None:
        """Write all as one transaction; without transactions what a restart reads comes first."""
        last = [] if position is None else [self.records.position(position, self._clock.now())]
        if self._transactional_id is None:
            for records in (states, outputs, last):
                await writer.commit(records)
            return
        await writer.commit(
            [*states, *outputs, *last],
            group=self._settings.commands_group,
            offsets=None if position is None else {self._input: position.low},
        )

    async def _open(self, writer: Writer) -> None:
        """Claim the ledger, read it up to the claim, and settle what was queued meanwhile."""
        records = self.records
        topics = (records.commands, records.results, records.letters)
        records.counts = {topic: await writer.partitions(topic) for topic in topics}
        records.owner = uuid.uuid4().hex
        claim = records.claim(self._clock.now())
        await writer.commit([claim])
        found = await self._reader.read(claim, records.counts[records.commands])
        self.begin = found.begin
        if self._position is None:
            self._position = found.position
        else:
            self._position.merge(found.position)
        self._ledger = found.ledger
        self._copies.begin(found.ledger.replies)
        if self._queue.settle(self._stamp, self.position):
            self._wake.set()
        forgotten = [records.forgotten(key) for key in sorted(found.ledger.claims)]
        await self._commit(writer, forgotten, (), self._position)

    def _stamp(self, command_id: str) -> str:
        known = self._ledger.get(command_id)
        return "" if known is None else known.stamp

    async def _lost(self, error: Again) -> None:
        """Wait before the next producer; TransactionLost counts, an absent broker does not."""
        self.trouble = str(error)
        if isinstance(error, TransactionLost):
            self._resets.count(error, self._clock.monotonic())
        if isinstance(error, Unreadable):
            telemetry.partition_waits(self._partition, str(error))
            await self._clock.sleep(UNREADABLE_PAUSE, self._stop)
        else:
            await self._clock.sleep(PAUSE)

    @property
    def _transactional_id(self) -> str | None:
        if self._settings.delivery == "at_least_once":
            return None
        return self._settings.transactional_id_commands(self._partition)
