"""What the API shows against what is on Kafka, event by event. Pure.

Millions of events are compared in bounded memory: of each its digest, its names, its time and a
checksum of its content are held, never the event.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from bridge.clock import Micros
from bridge.errors import InvalidRecord
from bridge.kafka.producer import RECORD_BYTES
from bridge.missions import jsontext
from bridge.missions.models import Event
from bridge.source.reading.windows import Item
from bridge.source.tools.stored_event import StoredEvent
from bridge.source.writing import convert

CONTENT: Final = (
    "event_id",
    "run_id",
    "type",
    "summary",
    "timestamp",
    "step_id",
    "agent_id",
    "idempotency_key",
    "payload",
    "extra",
)
"""Fields of a MissionEvent that the API shows; the bridge adds the others."""

UNKNOWN: Final = 0
"""Checksum of a content that cannot be compared: that of a dead letter."""

Kind = Literal["missing", "doubled", "changed"]


def checksum(fields: Mapping[str, Any]) -> int:
    """Return a CRC-32 of what the API shows of an event, never 0.

    How JSON texts are written does not count: older bridges wrote them anew.
    """
    shown = {name: fields[name] for name in CONTENT}
    shown["payload"] = _value(shown["payload"])
    extra = _value(shown["extra"])
    shown["extra"] = sorted(extra.items()) if isinstance(extra, dict) else extra
    content = jsontext.dumps(shown)
    return zlib.crc32(content.encode("utf-8", "surrogatepass")) or 1


def _value(text: str | None) -> Any:
    """Return the value of a JSON text; one that no record can hold is not read."""
    if text is None or len(text) > RECORD_BYTES:
        return text
    try:
        return jsontext.loads(text)
    except ValueError:
        return jsontext.Raw(text)


@dataclass(frozen=True, slots=True)
class Difference:
    """An event that is not as it should be, and the record that shows it, if one does."""

    kind: Kind
    run_id: str
    event_id: str
    at: Micros | None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None


@dataclass(slots=True)
class Counts:
    """What was compared; what follows `replays` is no difference.

    `pending` are not published yet, `before_start` never will be, `not_shown` by the API are those
    that it has no more or did not have yet. `unreadable` records hold no event.
    """

    shown: int = 0
    records: int = 0
    dead_letters: int = 0
    replays: int = 0
    pending: int = 0
    before_start: int = 0
    not_shown: int = 0
    unreadable: int = 0


@dataclass(slots=True)
class _Shown:
    run_id: str
    event_id: str
    at: Micros
    checksum: int
    found: bool = False


class Comparison:
    """Takes all that the API shows first, then all that is on Kafka.

    Events older than `low` are left out. With `is_copy` the topic is not the one that the source
    writes to, so what was replayed to it is there.
    """

    def __init__(self, source: str, *, low: Micros, is_copy: bool) -> None:
        self.counts = Counts()
        self._source = source
        self._low = low
        self._is_copy = is_copy
        self._shown: dict[bytes, _Shown] = {}
        self._not_shown: set[bytes] = set()
        self._differences: list[Difference] = []

    def show(self, item: Item) -> None:
        """Take an item that the API shows; an item that comes again does not count again."""
        if item.at < self._low or item.digest in self._shown:
            return
        event_id = item.row.event_id if isinstance(item.row, Event) else ""
        # Its run's id comes with each event: one text serves all.
        run_id = sys.intern(item.run_id)
        self._shown[item.digest] = _Shown(run_id, event_id, item.at, _checksum_of(item))
        self.counts.shown += 1

    def find(self, kept: StoredEvent | None) -> None:
        """Take what a record on Kafka holds; None: no event."""
        if kept is None:
            self.counts.unreadable += 1
            return
        shown = self._shown.get(kept.digest)
        if shown is None and (kept.source not in (None, self._source) or self._is_older(kept)):
            return
        if kept.replay:
            self.counts.replays += 1
            if not self._is_copy:
                return  # it proves nothing of the first time
        elif kept.fields is None:
            self.counts.dead_letters += 1
        else:
            self.counts.records += 1
        self._match(kept, shown)

    def differences(self, *, start: Micros, until: Micros | None) -> list[Difference]:
        """Return all differences, once everything was taken, and complete the counts.

        Events at or above `start` have to be published up to the watermark `until`; None: none has
        to be yet.
        """
        missing = []
        for one in self._shown.values():
            if one.found:
                continue
            if one.at < start:
                self.counts.before_start += 1
            elif until is None or one.at > until:
                self.counts.pending += 1
            else:
                missing.append(Difference("missing", one.run_id, one.event_id, one.at))
        return [*missing, *self._differences]

    def _is_older(self, kept: StoredEvent) -> bool:
        return (kept.written if kept.at is None else kept.at) < self._low

    def _match(self, kept: StoredEvent, shown: _Shown | None) -> None:
        """Compare a record with what the API shows and with the records before it."""
        if shown is None:
            if kept.digest not in self._not_shown:
                self._not_shown.add(kept.digest)
                self.counts.not_shown += 1
            elif not kept.replay:
                self._differ("doubled", kept)
            return
        if not shown.found:
            shown.found = True
        elif not kept.replay:
            self._differ("doubled", kept)
        known = kept.fields is not None and shown.checksum != UNKNOWN
        if known and kept.fields is not None and checksum(kept.fields) != shown.checksum:
            self._differ("changed", kept)

    def _differ(self, kind: Kind, kept: StoredEvent) -> None:
        record = kept.record
        place = (record.topic, record.partition, record.offset)
        self._differences.append(Difference(kind, kept.run_id, kept.event_id, kept.at, *place))


def _checksum_of(item: Item) -> int:
    """Return the checksum that the record of an item must have; UNKNOWN: it is a dead letter."""
    try:
        return checksum(convert.record(item, None, 0, late=False))
    except InvalidRecord:
        return UNKNOWN
