"""Everything that the command side writes, as Kafka records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bridge.avro import headers
from bridge.avro.codec import Codec
from bridge.clock import Micros
from bridge.commands import model, state_record
from bridge.commands.brakes.brake import PARTITION, Brake
from bridge.commands.brakes.brake import state as brake_state
from bridge.commands.ledger import ledger
from bridge.commands.ledger.position import InputPosition
from bridge.commands.ledger.replies import ERROR_HEADER, ReplyTarget
from bridge.commands.model import Entry, Outcome, Received
from bridge.config.models import Settings
from bridge.errors import InvalidRecord, Undecodable
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record

RESULT_ID = "bridge_result_id"
"""Header of a result and of its copy: the same result may be copied more than once."""

_COPIED = frozenset({"correlation_id", "traceparent"})
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
        key = state_record.claim_key(self._partition, self.owner)
        return self._state(key, ledger.claim_state(self.owner, now))

    def position(self, position: InputPosition, now: Micros) -> Record:
        """Return the record of how far the partition was read."""
        partitions = self.counts[self.commands]
        state = ledger.position_state(position, partitions, self.owner, now)
        return self._state(state_record.position_key(self._partition), state)

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

    def tell(
        self,
        entry: Entry,
        outcome: Outcome,
        received: Received,
        reply: ReplyTarget | None,
        *,
        final: bool,
    ) -> tuple[Record, ...]:
        """Return the result of a command, keyed like it, and its copy where `reply` says.

        Both have the command's correlation_id and traceparent, and the result's id; where no copy
        can be made, the result says why.
        """
        value = self._codec.encode(
            f"{self.results}-value", model.result(entry, outcome, self._partition, final=final)
        )
        last = {name: value for name, value in received.headers if name in _COPIED}
        stage = "final" if final else outcome.status.value.lower()
        last[RESULT_ID] = f"{self._partition}-{entry.offset}-{stage}".encode()
        result = Record(
            topic=self.results,
            partition=self._by_key(self.results, received.key),
            key=received.key,
            value=value,
            headers=tuple(last.items()),
        )
        if reply is None:
            return (result,)
        if reply.error is not None:
            return (_without_copy(result, reply.error),)
        return result, msgspec.structs.replace(result, topic=reply.topic, partition=reply.partition)

    def copies(self, outputs: Iterable[Record]) -> dict[str, Record]:
        """Return the copies of results among `outputs`, by the keys that the ledger has for them.

        They go to other people's topics, and so never into a transaction of the bridge.
        """
        ours = (self.results, self.letters, self.state)
        found = (record for record in outputs if record.topic not in ours)
        return {
            state_record.reply_key(self._partition, dict(copy.headers)[RESULT_ID].decode()): copy
            for copy in found
        }

    def reply(self, key: str, copy: Record, now: Micros) -> Record:
        """Return the ledger's record of a copy that is owed."""
        return self._state(key, ledger.reply_state(copy, self.owner, now))

    def not_copied(self, outputs: Iterable[Record], why: str) -> tuple[Record, ...]:
        """Return `outputs` with results that say why they are not copied."""
        return tuple(
            _without_copy(record, why) if record.topic == self.results else record
            for record in outputs
        )

    def dead_letter(self, received: Received, error: InvalidRecord, now: Micros) -> Record:
        """Return the dead letter of a record: its bytes as they came, and why.

        One that is too large to carry becomes a stub: the value's first 4 kB, with its length and,
        where all of it could be read, its SHA-256 in headers, and the key only if it is short.
        """
        why = headers.dead_letter(
            stage="VALUE_CONVERTER",
            error=error,
            failed_at=now,
            topic=self.commands,
            partition=received.partition,
            offset=received.offset,
        )
        key, value = received.key, received.value
        own = tuple((headers.readable(name), content) for name, content in received.headers)
        if received.size > _LARGEST_LETTER or _is_cut(value):
            key = key if len(key or b"") <= _STUB else None
            own = _stub_headers(value or b"")
            value = (value or b"")[:_STUB]
        partition = self._by_key(self.letters, received.key)
        return Record(self.letters, partition, key, value, (*own, *why))

    def _state(self, key: str, state: dict[str, Any] | None) -> Record:
        value = None if state is None else self._codec.encode(f"{self.state}-value", state)
        return Record(self.state, self._partition, key.encode(), value)

    def _by_key(self, topic: str, key: bytes | None) -> int:
        return 0 if key is None else murmur2(key, self.counts[topic])


def _is_cut(value: bytes | None) -> bool:
    return isinstance(value, Undecodable) and value.length is not None


def _stub_headers(value: bytes) -> headers.Headers:
    """Return what a stub says of the whole value."""
    if isinstance(value, Undecodable) and value.length is not None:
        length, digest = value.length, value.sha256
    else:
        length, digest = len(value), hashlib.sha256(value).hexdigest()
    told = [("bridge_stub_length", str(length).encode())]
    if digest is not None:
        told.append(("bridge_stub_sha256", digest.encode()))
    return tuple(told)


def _without_copy(result: Record, why: str) -> Record:
    return msgspec.structs.replace(result, headers=(*result.headers, (ERROR_HEADER, why.encode())))
