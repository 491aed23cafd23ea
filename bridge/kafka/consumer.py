"""Reading: one partition from its start, or a share of a group's partitions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from bridge.clock import Clock
from bridge.errors import KafkaAway, StateError
from bridge.kafka.client import (
    REQUEST_TIMEOUT,
    KafkaClient,
    bounded,
    end_consumer,
    has_coordinator,
    translate,
)

Received = ConsumerRecord[bytes, bytes]
"""A record as it was read; `key` and `value` may be None."""

SILENCE = 30.0
"""Seconds without coordinator, or without any answer to fetches, after which a member gives up;
failover takes 10 to 13."""

STANDSTILL = 60.0
"""Seconds for which a partition that is read may stand before the end of its log."""

_FETCH_MS = 500


class OutOfLog(StateError):
    """Positions outside their logs, on `partitions`: look anew where to read."""

    def __init__(self, message: str, partitions: frozenset[TopicPartition]) -> None:
        super().__init__(message)
        self.partitions = partitions


async def read_partition(
    kafka: KafkaClient,
    topic: str,
    partition: int,
    *,
    until: Callable[[Received], bool] | None,
    timeout: float,
) -> AsyncGenerator[Received, None]:
    """Yield the committed records of a partition from the start of its log; to be closed.

    Ends after the first record for which `until` is true; without `until`, at the end that the log
    had when the reading began. Open transactions below that end are waited for, as they hide what
    others committed after they began.

    Raises KafkaAway after `timeout` seconds without any progress: no broker answers, or a foreign
    transaction stays open longer than that.
    """
    at = TopicPartition(topic, partition)
    what = f"reading {topic}-{partition}"
    position, end = await log_bounds(kafka, at, timeout=timeout)
    consumer = kafka.consumer(group=None)
    try:
        async with bounded(what, timeout):
            await consumer.start()
            consumer.assign([at])
            consumer.seek(at, position)
        while until is not None or position < end:
            async with bounded(f"{what} from offset {position}", timeout):
                records, position = await _advance(consumer, at, position)
            for record in records:
                if until is None and record.offset >= end:
                    return
                yield record
                if until is not None and until(record):
                    return
    finally:
        await end_consumer(consumer)


async def log_bounds(kafka: KafkaClient, at: TopicPartition, *, timeout: float) -> tuple[int, int]:
    """Return the offsets at which a partition's log begins, and of the next record.

    Retention moves the beginning; open transactions do not hold back the end. Raises KafkaAway.
    """
    consumer = kafka.consumer(group=None, committed=False)
    try:
        async with bounded(f"asking for the offsets of {at.topic}-{at.partition}", timeout):
            await consumer.start()
            begins: dict[TopicPartition, int] = await consumer.beginning_offsets([at])
            ends: dict[TopicPartition, int] = await consumer.end_offsets([at])
    finally:
        await end_consumer(consumer)
    return begins[at], ends[at]


async def _advance(
    consumer: AIOKafkaConsumer, at: TopicPartition, position: int
) -> tuple[list[Received], int]:
    """Wait for records, or for a later position: aborted records and markers are passed over."""
    while True:
        fetched = await consumer.getmany(at, timeout_ms=_FETCH_MS)
        reached: int = await consumer.position(at)
        if fetched or reached != position:
            return fetched.get(at, []), reached


class _Listener(ConsumerRebalanceListener):
    """Notes that a rebalance began or ended, and nothing else.

    aiokafka swallows what a listener raises, sends no heartbeats while it runs, and delivers
    records before it has ended.
    """

    def __init__(self, clock: Clock, changed: asyncio.Event) -> None:
        self._clock = clock
        self._changed = changed
        self.rounds = 0
        self.since: float | None = clock.monotonic()

    def on_partitions_revoked(self, revoked: object) -> None:  # noqa: ARG002 - aiokafka's signature
        """Note when it began; aiokafka revokes everything, also what the member will keep."""
        self.since = self._clock.monotonic()
        self._changed.set()

    def on_partitions_assigned(self, assigned: object) -> None:  # noqa: ARG002 - aiokafka's signature
        """Note that it ended."""
        self.since = None
        self.rounds += 1
        self._changed.set()


@dataclass(slots=True)
class _Seat:
    """What the owner asked for on one partition, kept while the partition stays ours."""

    next: int = 0
    paused: bool = True
    answer: int | None = None
    silent: float = 0.0
    position: int = -1
    standing: float = 0.0


class Membership:
    """A member of a consumer group whose owner decides where each partition is read from.

    A new partition is paused until its owner seeks and resumes it. Partitions that the member
    keeps through a rebalance go on where they were. The owner takes its turns by `poll`; when it
    raises, close the membership and start another. `held_back` names a partition whose records an
    open transaction hides for long.
    """

    def __init__(
        self, kafka: KafkaClient, *, group: str, topics: Sequence[str], clock: Clock
    ) -> None:
        self._consumer = kafka.consumer(group=group)
        self._session = kafka.session_timeout
        self._what = f"member of {group}"
        self._topics = list(topics)
        self._clock = clock
        self._seats: dict[TopicPartition, _Seat] = {}
        self._adopted = 0
        self._alone = 0.0
        self.changed = asyncio.Event()
        self.held_back: str | None = None
        self._listener = _Listener(clock, self.changed)

    async def start(self) -> None:
        """Connect and ask to join the group; partitions come later. Raises KafkaAway."""
        async with bounded(self._what, REQUEST_TIMEOUT):
            await self._consumer.start()
            self._consumer.subscribe(self._topics, listener=self._listener)

    @property
    def joined(self) -> bool:
        """Whether the group has decided at least once what is ours."""
        return self._adopted > 0

    @property
    def assigned(self) -> frozenset[TopicPartition]:
        """The partitions that are ours now.

        While the group rebalances they stay ours, for as long as it cannot have given them away
        (a session); whoever has them next is told apart by the producer's epoch, not by this.
        """
        self._adopt()
        return frozenset(self._seats)

    async def poll(self, timeout: float) -> list[Received]:
        """Return what arrived on resumed partitions, after at most about `timeout` seconds.

        Raises:
            KafkaAway: the group cannot be used, no broker answered for long, or a partition that
                is read does not move although its log has more.
            OutOfLog: retention has passed a position, or a topic was made anew.
        """
        self._adopt()
        began = self._clock.monotonic()
        async with bounded(self._what, timeout + REQUEST_TIMEOUT):
            fetched = await self._fetch(timeout)
        self._adopt()
        seconds = self._clock.monotonic() - began
        self._watch(seconds)
        await self._watch_progress(seconds)
        return [record for records in fetched.values() for record in records if self._take(record)]

    def seek(self, at: TopicPartition, offset: int) -> None:
        """Read on from `offset`; nothing happens if the partition is no longer ours."""
        for seat in self._chosen((at,)):
            self._seats[seat].next = offset
            if self._settled:
                self._consumer.seek(seat, offset)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver no records of these partitions until they are resumed."""
        for at in self._chosen(partitions):
            self._seats[at].paused = True
            if self._settled:
                self._consumer.pause(at)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Deliver records of these partitions."""
        for at in self._chosen(partitions):
            self._seats[at].paused = False
            self._seats[at].silent = 0.0
            if self._settled:
                self._consumer.resume(at)

    async def close(self) -> None:
        """Leave the group, within seconds."""
        self._seats = {}
        await end_consumer(self._consumer)

    @property
    def _settled(self) -> bool:
        """Whether no rebalance is under way and the last one is adopted."""
        return self._listener.since is None and self._adopted == self._listener.rounds

    def _chosen(self, partitions: Iterable[TopicPartition]) -> frozenset[TopicPartition]:
        return self.assigned.intersection(partitions)

    async def _fetch(self, timeout: float) -> dict[TopicPartition, list[Received]]:
        try:
            # During a rebalance aiokafka waits for its end, however long that takes.
            async with asyncio.timeout(timeout + 0.1):
                fetched: dict[TopicPartition, list[Received]] = await self._consumer.getmany(
                    timeout_ms=round(timeout * 1000)
                )
        except NoOffsetForPartitionError:
            return {}  # of a partition that was assigned a moment ago and not yet adopted
        except OffsetOutOfRangeError as error:
            if self._settled:
                said = str(translate(error, self._what))
                raise OutOfLog(said, frozenset(error.args[0])) from error
            return {}  # the group's offset of such a partition: retention has passed it
        except TimeoutError:
            return {}
        # Records of an assignment not adopted yet begin at the group's offset, not at the owner's.
        return fetched if self._settled else {}

    def _adopt(self) -> None:
        """Take over what a rebalance decided, before anything else is done with the consumer."""
        since = self._listener.since
        if since is not None:
            if self._clock.monotonic() - since > self._session:
                self._seats = {}
            return
        if self._adopted == self._listener.rounds:
            return
        self._adopted = self._listener.rounds
        self._seats = {at: self._seats.get(at, _Seat()) for at in self._consumer.assignment()}
        # aiokafka forgets positions and pauses with each assignment. Paused partitions need a
        # position as well: it would otherwise ask for the group's offsets and fail without any.
        for at, seat in self._seats.items():
            self._consumer.seek(at, seat.next)
            if seat.paused:
                self._consumer.pause(at)

    def _take(self, record: Received) -> bool:
        """Say whether the owner gets this record, and go on after it if so."""
        seat = self._seats.get(TopicPartition(record.topic, record.partition))
        if seat is None or seat.paused or record.offset < seat.next:
            return False
        seat.next = record.offset + 1
        return True

    def _watch(self, seconds: float) -> None:
        """Raise KafkaAway when the group, or a partition that is read, was silent for long."""
        # aiokafka looks for a coordinator without end; a member that reads nothing notices only so.
        self._alone = 0.0 if has_coordinator(self._consumer) else self._alone + seconds
        if self._alone > SILENCE:
            raise KafkaAway(
                f"{self._what}: no coordinator of the group for {self._alone:.0f} s; if brokers "
                "can be reached, offsets.topic.replication.factor may be more than there are"
            )
        if not self._settled:
            return
        for at, seat in self._seats.items():
            answer = self._consumer.last_poll_timestamp(at)
            heard = seat.paused or answer != seat.answer
            seat.answer = answer
            seat.silent = 0.0 if heard else seat.silent + seconds
            if seat.silent > SILENCE:
                raise KafkaAway(
                    f"{self._what}: no answer to fetches of {at.topic}-{at.partition} for "
                    f"{seat.silent:.0f} s"
                )

    async def _watch_progress(self, seconds: float) -> None:
        """Raise KafkaAway when a partition stands still for long before committed records."""
        self.held_back = None
        for at, seat in self._seats.items() if self._settled else ():
            if seat.paused:
                seat.standing = 0.0
                continue
            async with bounded(self._what, REQUEST_TIMEOUT):
                position: int = await self._consumer.position(at)
            end, readable = self._consumer.highwater(at), self._consumer.last_stable_offset(at)
            moved = position != seat.position or end is None or position >= end
            seat.standing = 0.0 if moved else seat.standing + seconds
            seat.position = position
            if seat.standing <= STANDSTILL:
                continue
            where = f"{at.topic}-{at.partition} stands at offset {position} of {end}"
            if readable is None or readable > position:
                raise KafkaAway(f"{self._what}: {where} for {seat.standing:.0f} s")
            self.held_back = f"{where}: a producer's open transaction hides what follows"
