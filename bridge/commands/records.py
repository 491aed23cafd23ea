"""Everything that the command side writes, as Kafka records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from bridge.avro import headers
from bridge.avro.codec import Codec
from bridge.clock import Micros
from bridge.commands import ledger, model
from bridge.commands.brake import PARTITION, Brake
from bridge.commands.brake import state as brake_state
from bridge.commands.model import Entry, Outcome, Received
from bridge.config import Settings
from bridge.errors import InvalidRecord
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record

LARGEST_COMMAND = 384 * 1024
"""Bytes of a command's key, value and headers. Its intent and its result, which repeat parts of
it, then fit what brokers accept for a record (1 MB unless told otherwise)."""

_LARGEST_LETTER = 900_000
_STUB = 4 * 1024


class Records:
    """Makes the records of one command partition.

    `counts` are the partitions of the topics that are partitioned by key; `owner` is the nonce of
    the claim under which the ledger's records are written.
    """

    def __init__(self, settings: Settings, codec: Codec, partition: int) -> None:
        self.commands = settings.topic("commands")
        self.state = settings.topic("command-state")
        self.results = settings.topic("command-results")
        self.letters = settings.topic("commands.dlq")
        self.counts: Mapping[str, int] = {}
        self.owner = ""
        self._codec = codec
        self._partition = partition

    def claim(self, now: Micros) -> Record:
        """Return the mark up to which its owner reads the ledger."""
        key = ledger.claim_key(self._partition, self.owner)
        return self._state(key, ledger.claim_state(self.owner, now))

    def position(self, position: ledger.Position, now: Micros) -> Record:
        """Return the record of how far the partition was read."""
        partitions = self.counts[self.commands]
        state = ledger.position_state(position, partitions, self.owner, now)
        return self._state(ledger.position_key(self._partition), state)

    def entry(self, entry: Entry, now: Micros) -> Record:
        """Return the ledger's record of a command."""
        return self._state(entry.command_id, ledger.entry_state(entry, self.owner, now))

    def brake(self, brake: Brake) -> Record:
        """Return the record that holds commands back, for partition 0 whichever this one is."""
        value = self._codec.encode(f"{self.state}-value", brake_state(brake))
        return Record(self.state, PARTITION, brake.key.encode(), value)

    def forgotten(self, key: str) -> Record:
        """Return the record that removes a key from the ledger."""
        return self._state(key, None)

    def result(self, entry: Entry, outcome: Outcome, received: Received, *, final: bool) -> Record:
        """Return the result of a command, keyed like it, with its correlation_id."""
        value = model.result(entry, outcome, self._partition, final=final)
        copied = tuple(header for header in received.headers if header[0] == "correlation_id")
        return Record(
            topic=self.results,
            partition=self._by_key(self.results, received.key),
            key=received.key,
            value=self._codec.encode(f"{self.results}-value", value),
            headers=copied[-1:],
        )

    def dead_letter(self, received: Received, error: InvalidRecord, now: Micros) -> Record:
        """Return the dead letter of a record: its bytes as they came, and why.

        One that is too large to carry becomes a stub: the value's first 4 kB, with its length and
        SHA-256 in headers, and the key only if it is short.
        """
        why = headers.dead_letter(
            stage="VALUE_CONVERTER",
            error=error,
            failed_at=now,
            topic=self.commands,
            partition=received.partition,
            offset=received.offset,
        )
        key, value, own = received.key, received.value, received.headers
        if received.size > _LARGEST_LETTER:
            whole = value or b""
            key = key if len(key or b"") <= _STUB else None
            value = whole[:_STUB]
            own = (
                ("bridge_stub_length", str(len(whole)).encode()),
                ("bridge_stub_sha256", hashlib.sha256(whole).hexdigest().encode()),
            )
        partition = self._by_key(self.letters, received.key)
        return Record(self.letters, partition, key, value, (*own, *why))

    def _state(self, key: str, state: dict[str, Any] | None) -> Record:
        value = None if state is None else self._codec.encode(f"{self.state}-value", state)
        return Record(self.state, self._partition, key.encode(), value)

    def _by_key(self, topic: str, key: bytes | None) -> int:
        return 0 if key is None else murmur2(key, self.counts[topic])
