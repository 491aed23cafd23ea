"""Where an event went: its records, the transaction that brought them, and how it was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bridge.avro.subjects import subjects
from bridge.errors import ConfigError, InvalidRecord
from bridge.kafka.consumer import Received
from bridge.kafka.partition import murmur2
from bridge.kafka.topic_reader import find_topic
from bridge.missions import jsontext
from bridge.source.identity import digest
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.stored_event import StoredEvent, kept
from bridge.source.writing.headers import DIGEST, REASON, REPLAY, headers_of, origin_in


@dataclass(frozen=True, slots=True)
class EventPlace:
    """A record of an event, or its dead letter, and what its headers say.

    `origin` says how the event was found (empty: it does not), `failed` why it could not be
    converted, `replay` which replay wrote it.
    """

    kept: StoredEvent
    origin: Mapping[str, str]
    failed: str | None
    replay: str | None

    @property
    def late(self) -> bool | None:
        """Whether it was marked late; None for a dead letter."""
        return None if self.kept.fields is None else self.kept.fields["late"]


async def places(view: SourceAccess, event_id: str, run_id: str | None) -> list[EventPlace]:
    """Return all records of an event, of one run or of any. Raises KafkaAway, RegistryAway."""
    layout, found = view.desk.layout, list[EventPlace]()
    numbers: Sequence[int] = range(layout.event_partitions)
    if run_id is not None:
        numbers = [murmur2(run_id.encode(), layout.event_partitions)]
    for topic, partitions in ((layout.events, numbers), (layout.dead_letters, (0,))):
        async with aclosing(view.records(topic, partitions)) as records:
            async for record in records:
                place = await _place(view, record, event_id, run_id)
                if place is not None:
                    found.append(place)
    return found


async def _place(
    view: SourceAccess, record: Received, event_id: str, run_id: str | None
) -> EventPlace | None:
    """Return what a record says of an event; None: it is another's."""
    headers = headers_of(record)
    key = (record.key or b"").decode(errors="replace")
    if run_id not in (None, key) or not _names(headers, key, event_id):
        return None
    one = await kept(view.desk.codec, f"{view.desk.layout.events}-value", record)
    if one is None:
        return None
    failed = headers.get(REASON) if DIGEST in headers else None
    return EventPlace(one, origin_in(headers), failed, headers.get(REPLAY))


def _names(headers: Mapping[str, str], run_id: str, event_id: str) -> bool:
    """Whether headers are those of an event."""
    if DIGEST in headers:
        return headers[DIGEST] == digest(run_id, event_id).hex()
    return headers.get("ce_id") == f"{run_id}/{event_id}"


async def certificates(
    view: SourceAccess, found: Sequence[EventPlace]
) -> dict[tuple[str, str], Any]:
    """Return the audit records of the transactions that brought events, by batch and sweep.

    What retention has deleted is not there. Raises KafkaAway, RegistryAway.
    """
    topic = view.desk.layout.audit
    wanted = {(place.origin.get("batch", ""), place.origin.get("sweep", "")) for place in found}
    told: dict[tuple[str, str], Any] = {}
    async with aclosing(view.records(topic, (0,))) as records:
        async for record in records:
            try:
                value = await view.desk.codec.decode(f"{topic}-value", record.value)
            except InvalidRecord:
                continue  # anyone may write there; what is not ours proves nothing
            if value["source"] == view.source.name and value["kind"] == "sweep":
                name = str(value["batch"]), str(value["sweep"]["number"])
                if name in wanted and value["sweep"]["published"]:
                    told[name] = value
    return told


@dataclass(slots=True)
class Behind:
    """The newest results of the commands that logged an event, and that started its run."""

    logged: Mapping[str, Any] | None = None
    started: Mapping[str, Any] | None = None


async def commands_behind(view: SourceAccess, place: EventPlace) -> Behind:
    """Return what commands have to do with an event. Raises KafkaAway, RegistryAway."""
    fields, behind = place.kept.fields, Behind()
    ids = [] if fields is None else list(_command_ids(fields))
    topic = view.settings.topic("command-results")
    subject = f"{topic}-value"
    try:
        partitions = await find_topic(view.desk.kafka, topic)
        known = subjects(view.settings.kafka.topic_prefix)
        await view.desk.codec.prepare(subject, known[subject].schema)
    except ConfigError:
        return behind  # an installation that carries out no commands
    async with aclosing(view.records(topic, range(len(partitions)))) as records:
        async for record in records:
            if place.kept.run_id.encode() not in (record.value or b""):
                continue  # Avro writes texts as they are
            try:
                result = await view.desk.codec.decode(subject, record.value)
            except InvalidRecord:
                continue
            if result["run_id"] != place.kept.run_id:
                continue
            if result["command_id"] in ids:
                behind.logged = result
            elif result["type"] == "start_run" and result["final"]:
                behind.started = result
    return behind


def _command_ids(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may be the id of the command that logged an event."""
    try:
        payload = jsontext.loads(fields["payload"] or "null")
    except ValueError:
        payload = None
    said = payload.get("bridge_command_id") if isinstance(payload, dict) else None
    for one in (said, fields["idempotency_key"]):
        if isinstance(one, str):
            yield one
