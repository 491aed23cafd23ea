"""The records of one batch: events, dead letters and the checkpoint that speaks of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.avro.headers import cloud_event, dead_letter
from bridge.clock import Micros
from bridge.config.models import Settings
from bridge.errors import InvalidRecord
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import RECORD_BYTES, Record
from bridge.missions.models import Event
from bridge.source.checkpoint.records import records as state_records
from bridge.source.checkpoint.state import Batch, Checkpoint
from bridge.source.reading.windows import Ask, Item
from bridge.source.writing import certificate, convert
from bridge.source.writing.certificate import Finding, Proof
from bridge.source.writing.headers import DIGEST, ORIGIN

STUB_BYTES: Final = 4096
"""How much of a record that is too large its dead letter carries."""

EVENT_TYPE: Final = "com.telnyx.mission.event."

Header = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Layout:
    """Topics of a source, how many partitions its events have, and where its checkpoint lives."""

    events: str
    dead_letters: str
    checkpoint: str
    audit: str
    event_partitions: int
    checkpoint_partition: int
    checkpoint_partitions: int

    @classmethod
    def of(cls, settings: Settings, source: str, *, events: int, checkpoints: int) -> Layout:
        """Return the layout of a source, given the partition counts of the two topics."""
        return cls(
            settings.topic("events"),
            settings.topic("events.dlq"),
            settings.topic("checkpoint"),
            settings.topic("audit"),
            events,
            murmur2(source.encode(), checkpoints),
            checkpoints,
        )


class Publisher:
    """Turns batches into records; `origin` is what CloudEvents call the source."""

    def __init__(self, codec: Codec, layout: Layout, origin: str) -> None:
        self._codec = codec
        self._layout = layout
        self._origin = origin

    def records(
        self,
        checkpoint: Checkpoint,
        batch: Batch,
        now: Micros,
        proof: Proof,
        findings: Sequence[Finding] = (),
    ) -> list[Record]:
        """Return the records that go with the events of a batch; the checkpoint's come last.

        `proof` becomes the certificate of what was read, `findings` are told beside it.
        """
        told = [*findings]
        if batch.fresh or proof.kind != "runs":
            told.append(certificate.swept(checkpoint, batch, proof))
        audits = [
            self._audit(certificate.record(checkpoint, batch, one, proof.lateness, now), one)
            for one in told
        ]
        state = [
            self.state(key, None if value is None else self._encode(self._layout.checkpoint, value))
            for key, value in state_records(checkpoint, batch)
        ]
        return audits + state

    def state(self, key: str, value: bytes | None) -> Record:
        """Return a record for the checkpoint partition of this source."""
        layout = self._layout
        return Record(layout.checkpoint, layout.checkpoint_partition, key.encode(), value)

    def _encode(self, topic: str, value: dict[str, Any]) -> bytes:
        return self._codec.encode(f"{topic}-value", value)

    def _audit(self, value: dict[str, Any], finding: Finding) -> Record:
        key = finding.about.encode("utf-8", "backslashreplace")
        return Record(self._layout.audit, 0, key, self._encode(self._layout.audit, value))

    def event(
        self, item: Item, mission_id: str | None, now: Micros, origin: bytes, *, late: bool
    ) -> tuple[Record, bool]:
        """Return an event's record, or its dead letter and False where it cannot be converted.

        `origin` says how it was found: see `origin_of`.
        """
        header = (ORIGIN, origin)
        try:
            return self._convert(item, mission_id, now, header, late=late), True
        except InvalidRecord as error:
            return self._dead(item, error, now, header), False
        except UnicodeEncodeError as error:
            return self._dead(item, InvalidRecord("unencodable", str(error)), now, header), False

    def _convert(
        self, item: Item, mission_id: str | None, now: Micros, origin: Header, *, late: bool
    ) -> Record:
        fields = convert.record(item, mission_id, now, late=late)
        longest = len(fields["payload"] or "") + len(fields["extra"] or "")
        if longest > RECORD_BYTES:  # as it is in any case, known before it is encoded
            raise InvalidRecord("too_large", f"{longest} characters, Kafka takes {RECORD_BYTES}")
        key = fields["run_id"].encode()
        headers = cloud_event(
            id=f"{fields['run_id']}/{fields['event_id']}",
            source=self._origin,
            type=EVENT_TYPE + fields["type"],
            time=fields["timestamp"],
            subject=fields["run_id"],
        )
        partition = murmur2(key, self._layout.event_partitions)
        value = self._encode(self._layout.events, fields)
        record = Record(self._layout.events, partition, key, value, (*headers, origin))
        # The value has every text of the key and the headers, of which the run's id comes thrice.
        if len(value) > RECORD_BYTES // 8 and record.size > RECORD_BYTES:
            raise InvalidRecord("too_large", f"{record.size} bytes, Kafka takes {RECORD_BYTES}")
        return record

    def _dead(self, item: Item, error: InvalidRecord, now: Micros, origin: Header) -> Record:
        row = item.row
        telemetry.dead_letter("events", error.reason)
        told = dead_letter(stage="VALUE_CONVERTER", error=error, failed_at=now)
        headers = (*told, (DIGEST, item.digest.hex().encode()), origin)
        run_id = row.run_id if isinstance(row, Event) else ""
        key = run_id.encode("utf-8", "backslashreplace") or None
        value = convert.original(row).encode("utf-8", "surrogatepass")
        record = Record(self._layout.dead_letters, 0, key, value, headers)
        if record.size <= RECORD_BYTES:
            return record
        short = key and key[:STUB_BYTES]
        return Record(self._layout.dead_letters, 0, short, stub(value), headers)


def origin_of(ask: Ask | None, source: str, batch: int, proof: Proof) -> bytes:
    """Say how an event was found, for `mission-bridge why`; `batch` is that of its transaction."""
    page = f";page={ask.page};size={ask.size}" if ask else ""
    origin = f"source={source};batch={batch};sweep={proof.number};pass={proof.kind}{page}"
    return origin.encode()


def stub(value: bytes) -> bytes:
    """Return what a dead letter carries of a value too large for it: digest, length, beginning."""
    about = {
        "stub": True,
        "sha256": hashlib.sha256(value).hexdigest(),
        "length": len(value),
        "begins": value[:STUB_BYTES].decode("utf-8", "replace"),
    }
    return json.dumps(about, ensure_ascii=False).encode()
