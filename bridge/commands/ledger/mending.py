"""Mending a ledger that somebody else wrote to: what a bridge wrote last under a key is put back.

The log still has it until compaction has passed. Nothing is made up: a key without an earlier
record stays as it is, because nobody can know whether a request was announced under it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.commands.ledger.records import Records
from bridge.commands.model import Kind
from bridge.commands.state_record import check, concerns
from bridge.config.models import Settings
from bridge.errors import InvalidRecord
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import read_partition
from bridge.kafka.producer import Record, Writer

_READ_SECONDS = 30.0
_SEEN = "the ledger's record of it was overwritten by somebody else and was put back"


@dataclass(slots=True)
class Mended:
    """By partition and key: what is put back, as its kind, and what cannot be."""

    back: dict[tuple[int, str], str] = field(default_factory=dict)
    lost: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Key:
    """The newest record of a key that a bridge wrote, and whether another follows it."""

    good: bytes | None = None
    state: Mapping[str, Any] | None = None
    known: bool = False
    spoiled: bool = False


class Mender:
    """Reads ledgers and puts records back; each call may raise KafkaAway and RegistryAway.

    `codec` must be prepared for the values of command-state.
    """

    def __init__(self, settings: Settings, kafka: KafkaClient, codec: Codec, clock: Clock) -> None:
        self._settings = settings
        self._kafka = kafka
        self._codec = codec
        self._clock = clock
        self._topic = settings.topic("command-state")
        self._timeout = settings.kafka.transaction_timeout

    async def mend(self, partition: int, mended: Mended, *, dry: bool) -> None:
        """Mend one partition. Whoever works on it is put out first, by its transactional id.

        Raises Fenced and TransactionLost: nothing was written then, or all of it.
        """
        if dry:
            self._plan(partition, await self._read(partition, None), mended)
            return
        exact = self._settings.delivery == "exactly_once"
        name = self._settings.transactional_id_commands(partition) if exact else None
        writer = await Writer.open(
            self._kafka, name, role="repair", clock=self._clock, timeout=self._timeout
        )
        try:
            records = Records(self._settings, self._codec, partition)
            records.owner = uuid.uuid4().hex
            claim = records.claim(self._clock.now())
            await writer.commit([claim])
            found = await self._read(partition, claim.key)
            await writer.commit(self._plan(partition, found, mended))
        finally:
            await writer.close()

    async def _read(self, partition: int, claim: bytes | None) -> dict[str, _Key]:
        """Return what is known of each key that tells of commands, up to a claim or the end."""
        until = None if claim is None else (lambda record: record.key == claim)
        timeout = self._timeout + _READ_SECONDS
        log = read_partition(self._kafka, self._topic, partition, until=until, timeout=timeout)
        found: dict[str, _Key] = {}
        async with aclosing(log):
            async for record in log:
                name = (record.key or b"").decode(errors="replace")
                if name.startswith(("claim/", "reply/")) or not concerns(name, partition):
                    continue
                key = found.setdefault(name, _Key())
                try:
                    state = await self._state(name, record.value)
                except InvalidRecord:
                    key.spoiled = True
                else:
                    found[name] = _Key(record.value, state, known=True)
        return found

    async def _state(self, key: str, value: bytes | None) -> dict[str, Any] | None:
        if value is None:
            return None
        state = await self._codec.decode(f"{self._topic}-value", value)
        check(key, state)
        return state

    def _plan(self, partition: int, found: Mapping[str, _Key], mended: Mended) -> list[Record]:
        """Note what can be mended, and return the records that do it."""
        records = []
        for name, key in found.items():
            if not key.spoiled:
                continue
            if not key.known:
                mended.lost.append((partition, name))
                continue
            mended.back[partition, name] = "nothing" if key.state is None else key.state["kind"]
            records.append(Record(self._topic, partition, name.encode(), self._value(key)))
        return records

    def _value(self, key: _Key) -> bytes | None:
        """Return what to put back; a request may have been announced since a withdrawal."""
        state = key.state
        if state is None or state["kind"] != Kind.WITHDRAWN:
            return key.good
        doubt = {"seen": _SEEN, "http_status": None, "http_body": None, "told": False}
        command = {**state["command"], "doubt": doubt, "stamp": uuid.uuid4().hex}
        doubted = {**state, "kind": Kind.DOUBT.value, "command": command}
        return self._codec.encode(f"{self._topic}-value", doubted)
