"""Reading a partition's ledger, and where its input begins and ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import TopicPartition

from bridge import telemetry
from bridge.clock import SECOND, Clock
from bridge.commands.decoder import Decoder
from bridge.commands.ledger.ledger import Ledger
from bridge.commands.ledger.position import InputPosition
from bridge.commands.state_record import concerns
from bridge.config.models import Settings
from bridge.errors import InvalidRecord, StateError, Unreadable
from bridge.kafka.client import KafkaClient, bounded, end_consumer
from bridge.kafka.consumer import Received, read_partition
from bridge.kafka.producer import Record

_FOREIGN_TRANSACTION = 30.0
"""Seconds beyond the transaction time-out for brokers to abort one that holds readers back."""

_END_CHECKS = 30

_DECODED_AT_ONCE = 1_000
"""So many records are decoded before others get a turn."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What an owner begins with; `begin` is the first offset that the input still has."""

    ledger: Ledger
    position: InputPosition
    begin: int


class LedgerReader:
    """Reads the ledger of one partition of the input, `at`."""

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaClient,
        decoder: Decoder,
        clock: Clock,
        at: TopicPartition,
        stop: asyncio.Event,
    ) -> None:
        self._start = settings.commands.start
        self._timeout = settings.kafka.transaction_timeout
        self._kafka = kafka
        self._decoder = decoder
        self._clock = clock
        self._at = at
        self._stop = stop

    async def read(self, claim: Record, partitions: int) -> Beginning:
        """Read up to the owner's claim; without a position begin where the settings say.

        `partitions` is the input's count. Raises StateError when ledger and input do not
        fit, Unreadable for a ledger with a record that no bridge wrote.
        """
        ledger = await self._fold(claim)
        if ledger.partitions not in (None, partitions):
            raise StateError(
                f"{self._at.topic} has {partitions} partitions, its ledger was written for"
                f" {ledger.partitions}: keys moved, so dedup and order are lost. Once all its"
                " commands have their results, delete it and its command-state topic, and create"
                " both anew (see More partitions for commands in docs/OPERATIONS.md)"
            )
        begin, end = await self._bounds(first_start=ledger.position is None)
        position = ledger.position or InputPosition(begin)
        await self._check_end(position.low, end)
        return Beginning(ledger, position, begin)

    async def _fold(self, claim: Record) -> Ledger:
        """Return what the newest record of each key says; raises Unreadable."""
        newest = await self._newest(claim)
        ledger = Ledger(self._clock.monotonic())
        while newest:
            key = next(iter(newest))
            record = newest.pop(key)
            if key.startswith("claim/"):
                ledger.claims.add(key)  # whatever it holds, it was read past
                continue
            try:
                state = await self._decoder.decode(f"{claim.topic}-value", record.value, self._stop)
                ledger.fold(key, state, claim.partition)
            except InvalidRecord as error:
                if key.startswith("reply/"):  # the result itself is where it always is
                    telemetry.replies_given_up(key, 1, str(error))
                    ledger.claims.add(key)
                    continue
                raise Unreadable(
                    f"{claim.topic}-{claim.partition} offset {record.offset} (key {key!r}) is"
                    f" no record of the ledger: {error}; only the bridge may write there. The"
                    " partition waits; `mission-bridge repair --ledger` puts back what was there"
                ) from error
            if len(newest) % _DECODED_AT_ONCE == 0:
                await self._clock.sleep(0)
        return ledger

    async def _newest(self, claim: Record) -> dict[str, Received]:
        """Return the newest record of each key that is known, in the order of the log."""
        log = read_partition(
            self._kafka,
            claim.topic,
            claim.partition,
            until=lambda record: record.key == claim.key,
            timeout=self._timeout + _FOREIGN_TRANSACTION,
        )
        newest: dict[str, Received] = {}
        async with aclosing(log):
            async for record in log:
                key = (record.key or b"").decode(errors="replace")
                newest.pop(key, None)
                if record.value is not None and concerns(key, claim.partition):
                    newest[key] = record
        return newest

    async def _bounds(self, *, first_start: bool) -> tuple[int, int]:
        """Return where reading may begin, at a first start by the settings, and the log's end."""
        at, start = self._at, self._start
        consumer = self._kafka.consumer(group=None)
        try:
            async with bounded(f"asking for the offsets of {at.topic}", self._timeout):
                await consumer.start()
                begin: int = (await consumer.beginning_offsets([at]))[at]
                end: int = (await consumer.end_offsets([at]))[at]
                if not first_start or start == "earliest":
                    return begin, end
                if start == "latest":
                    return end, end
                found = (await consumer.offsets_for_times({at: start * 1_000 // SECOND}))[at]
                return (end if found is None else found.offset), end
        finally:
            await end_consumer(consumer)

    async def _check_end(self, low: int, end: int) -> None:
        """Raise StateError if the topic ends before what was read of it.

        After a failover a new leader may show an old end for a while.
        """
        for _ in range(_END_CHECKS):
            if low <= end:
                return
            await self._clock.sleep(1.0, self._stop)
            _, end = await self._bounds(first_start=False)
        raise StateError(
            f"the ledger says that {self._at.topic}-{self._at.partition} was read up to offset"
            f" {low}, but it ends at {end}: the topic was created anew or lost records. Start"
            " under a new topic prefix, or create the command-state topic anew as well: then every"
            " command that the topic holds counts as new"
        )
