"""Brakes from outside a bridge: setting them, lifting them, and what waits because of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from aiokafka import TopicPartition

from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.commands.brakes.brake import PARTITION, PREFIX, Brake, parse, state
from bridge.commands.state_record import position_key
from bridge.config.models import Settings
from bridge.errors import InvalidRecord
from bridge.kafka.client import KafkaClient
from bridge.kafka.producer import Record, Writer
from bridge.kafka.tail import follow
from bridge.kafka.topic_reader import TopicReader, find_topic, open_topic

_TIMEOUT = 30.0
_POLL = 0.5

_AMONG_LAST = 5_000
"""Records at a ledger's end among which its newest position nearly always is."""


class Lever:
    """Writes and reads brakes; each call may raise KafkaAway, RegistryAway and ConfigError.

    `codec` must be prepared for the values of command-state.
    """

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._kafka = KafkaClient(settings.kafka)
        self._codec = codec
        self._clock = Clock()
        self._commands = settings.topic("commands")
        self._ledger = settings.topic("command-state")

    async def set(self, brake: Brake) -> None:
        """Write a brake, so that every replica acknowledged it."""
        value = self._codec.encode(f"{self._ledger}-value", state(brake))
        await self._write([Record(self._ledger, PARTITION, brake.key.encode(), value)])

    async def lift(self, keys: Sequence[str]) -> None:
        """Remove the brakes with these keys; one that is not set is none afterwards as well."""
        raw = [key.encode(errors="surrogateescape") for key in keys]
        await self._write([Record(self._ledger, PARTITION, key, None) for key in raw])

    async def brakes(self) -> tuple[list[Brake], list[str]]:
        """Return the brakes that are set, and the keys of those that cannot be read, in order."""
        await find_topic(self._kafka, self._ledger)
        found: dict[str, Brake | None] = {}
        tails = follow(self._kafka, self._ledger, PARTITION, clock=self._clock)
        async with aclosing(tails):
            async for tail in tails:
                for record in tail.records:
                    key = (record.key or b"").decode(errors="surrogateescape")
                    if key.startswith(PREFIX):
                        found.pop(key, None)
                        if record.value is not None:
                            found[key] = await self._brake(key, record.value)
                if tail.whole:
                    break
        brakes = sorted(found.items())
        return [one for _, one in brakes if one is not None], [
            k for k, one in brakes if one is None
        ]

    async def _brake(self, key: str, value: bytes) -> Brake | None:
        try:
            return parse(key, await self._codec.decode(f"{self._ledger}-value", value))
        except InvalidRecord:
            return None

    async def waiting(self) -> int:
        """Return how many records of the commands topic are not done with.

        Markers of producers with transactions look the same and are counted.
        """
        async with open_topic(self._kafka, self._ledger) as reader:
            newest = await self._newest_positions(reader)
        async with open_topic(self._kafka, self._commands) as reader:
            begins, ends = await reader.starts(), await reader.ends()
        count = 0
        for at, end in ends.items():
            at_least, done = begins[at], 0
            if (position := await self._position(newest.get(at.partition))) is not None:
                at_least = max(at_least, position["low"])
                done = sum(span["last"] - span["first"] + 1 for span in position["completed"])
            count += max(0, end - at_least - done)
        return count

    async def _position(self, value: bytes | None) -> dict[str, Any] | None:
        """Return a position in its record; None where there is none, or none that can be read."""
        if value is None:
            return None
        try:
            state = await self._codec.decode(f"{self._ledger}-value", value)
        except InvalidRecord:
            return None
        position: dict[str, Any] | None = state["position"]
        return position

    async def _write(self, records: Sequence[Record]) -> None:
        # Without a transactional id: nobody who works is put out.
        await find_topic(self._kafka, self._ledger)
        writer = await Writer.open(
            self._kafka, None, role="brake", clock=self._clock, timeout=_TIMEOUT
        )
        try:
            await writer.commit(records)
        finally:
            await writer.close()

    async def _newest_positions(self, reader: TopicReader) -> dict[int, bytes]:
        """Return each partition's newest position record, read backwards as far as it takes."""
        begins, ends = await reader.starts(), await reader.ends()
        found: dict[int, bytes] = {}
        for last in (_AMONG_LAST, max(ends.values(), default=0)):
            wanted = {
                at: max(begins[at], end - last)
                for at, end in ends.items()
                if at.partition not in found
            }
            reader.seek({**ends, **wanted})
            while not _reached(await reader.positions(), {at: ends[at] for at in wanted}):
                for record in await reader.poll(_POLL):
                    if record.key == position_key(record.partition).encode() and record.value:
                        found[record.partition] = record.value
        return found


def _reached(positions: dict[TopicPartition, int], ends: dict[TopicPartition, int]) -> bool:
    return all(positions[at] >= end for at, end in ends.items())
