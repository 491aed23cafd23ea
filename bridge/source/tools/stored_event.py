"""Events as the records on Kafka hold them: decoded, or as dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bridge.avro.codec import Codec
from bridge.clock import Micros
from bridge.errors import InvalidRecord
from bridge.kafka.consumer import Received
from bridge.missions import jsontext
from bridge.missions.timestamps import moment
from bridge.source.identity import digest
from bridge.source.writing.headers import DIGEST, REPLAY, digest_of, headers_of, origin_in


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """The event that a record holds, and who wrote it.

    `at` is None where a dead letter does not say when it happened, `source` where the record does
    not say whose it is. `fields` are those of a MissionEvent; None: a dead letter.
    """

    record: Received
    digest: bytes
    run_id: str
    event_id: str
    at: Micros | None
    source: str | None
    replay: bool
    fields: dict[str, Any] | None

    @property
    def written(self) -> Micros:
        """When the record was written; an event is hardly ever younger."""
        return self.record.timestamp * 1000


async def kept(codec: Codec, subject: str, record: Received) -> StoredEvent | None:
    """Return the event in a record of an events topic or its dead letters; None: there is none.

    `subject` is that of the events. Raises RegistryAway.
    """
    headers = headers_of(record)
    source, replay = origin_in(headers).get("source"), REPLAY in headers
    if DIGEST in headers:
        return _dead_letter(record, digest_of(record, headers), source, replay=replay)
    try:
        fields = await codec.decode(subject, record.value)
    except InvalidRecord:
        return None
    run_id, event_id = fields["run_id"], fields["event_id"]
    name = digest(run_id, event_id)
    return StoredEvent(record, name, run_id, event_id, fields["timestamp"], source, replay, fields)


def _dead_letter(
    record: Received, name: bytes | None, source: str | None, *, replay: bool
) -> StoredEvent | None:
    """Return what a dead letter says of its event: little, where it had to be cut short."""
    if name is None:
        return None
    try:
        row = jsontext.loads(record.value or b"")
    except ValueError:
        row = None
    shown = row if isinstance(row, dict) else {}
    event_id, time = (shown.get(field) for field in ("event_id", "timestamp"))
    return StoredEvent(
        record,
        name,
        (record.key or b"").decode(errors="replace"),
        event_id if isinstance(event_id, str) else "",
        moment(time) if isinstance(time, str) else None,
        source,
        replay,
        None,
    )
