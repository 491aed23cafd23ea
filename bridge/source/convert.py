"""From a row of the feed to an item of a sweep, and on to the record that is published. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bridge.clock import Micros
from bridge.errors import InvalidRecord
from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed
from bridge.source.checkpoint import Fresh
from bridge.source.segment import digest
from bridge.source.sweep import Item

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(text: str) -> Micros:
    """Return an RFC 3339 timestamp as microseconds; without a zone it is taken for UTC.

    Digits beyond the sixth are cut off. Raises InvalidRecord("bad_timestamp").
    """
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidRecord("bad_timestamp", f"{text[:64]!r} is no date-time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def items(rows: Sequence[Event | Malformed], otherwise: Micros) -> tuple[Item, ...]:
    """Return the rows of a page as items.

    A row without a usable timestamp takes the one of its neighbour: the feed's order says about
    when it happened, and it must keep its place. Where no row has one, all take `otherwise`.
    """
    times = [_time(row) for row in rows]
    known = next((time for time in times if time is not None), otherwise)
    placed: list[Item] = []
    for row, time in zip(rows, times, strict=True):
        known = known if time is None else time
        placed.append(Item(known, _digest(row), row.run_id if isinstance(row, Event) else "", row))
    return tuple(placed)


def record(one: Fresh, mission_id: str | None, now: Micros) -> dict[str, Any]:
    """Return the fields of a MissionEvent.

    Raises InvalidRecord for a row that is no event or has a timestamp that is none.
    """
    row = one.item.row
    if not isinstance(row, Event):
        raise InvalidRecord("no_event", row.error if isinstance(row, Malformed) else "no event")
    return {
        "event_id": row.event_id,
        "run_id": row.run_id,
        "mission_id": mission_id,
        "type": row.type,
        "summary": row.summary,
        "timestamp": micros(row.timestamp),
        "step_id": row.step_id,
        "agent_id": row.agent_id,
        "idempotency_key": row.idempotency_key,
        "payload": None if row.payload is None else jsontext.dumps(row.payload),
        "late": one.late,
        "ingested_at": now,
        "extra": jsontext.dumps(row.model_extra) if row.model_extra else None,
    }


def original(row: object) -> str:
    """Return a row's JSON text, for its dead letter."""
    raw = row.raw if isinstance(row, Malformed) else row
    if isinstance(raw, Event):
        raw = raw.model_dump(exclude_unset=True)
    return jsontext.dumps(raw)


def any_time(rows: Sequence[Event | Malformed]) -> bool:
    """Whether at least one row says when it happened."""
    return any(_time(row) is not None for row in rows)


def _time(row: Event | Malformed) -> Micros | None:
    text = row.timestamp if isinstance(row, Event) else _timestamp(row.raw)
    try:
        return micros(text)
    except InvalidRecord:
        return None


def _timestamp(raw: Any) -> str:
    """Return what stands where an event has its timestamp, also if it is no event otherwise."""
    found = raw.get("timestamp") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""


def _digest(row: Event | Malformed) -> bytes:
    if isinstance(row, Event):
        return digest(row.run_id, row.event_id)
    text = jsontext.dumps(row.raw).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
