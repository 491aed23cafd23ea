"""From a row of the feed to an item of a sweep, and on to the record that is published. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from bridge.clock import Micros
from bridge.errors import InvalidRecord
from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed, Run
from bridge.missions.timestamps import micros, moment
from bridge.source.checkpoint import Fresh
from bridge.source.content import checksum
from bridge.source.segment import digest
from bridge.source.sweep import Ask, Item


def items(
    rows: Sequence[Event | Malformed], ask: Ask, otherwise: Micros
) -> tuple[Item, ...] | None:
    """Return the rows of a page as items; None where a full page has no usable timestamp at all.

    A row without one takes that of its neighbour: the feed's order says about when it happened,
    and it must keep its place. Where no row has one, all take `otherwise`.
    """
    times = [_time(row) for row in rows]
    heights = _heights(times, ask, otherwise)
    if heights is None:
        return None
    placed: list[Item] = []
    for row, time, height in zip(rows, times, heights, strict=True):
        run_id = row.run_id if isinstance(row, Event) else ""
        is_dated = time is not None
        placed.append(Item(height, _digest(row), run_id, row, checksum(row), ask, is_dated))
    return tuple(placed)


def runs(rows: Sequence[Run | Malformed], ask: Ask, otherwise: Micros) -> tuple[Item, ...] | None:
    """Return the rows of a page of runs as items, in time by their `started_at`; None as above."""
    times = [moment(row.started_at) if isinstance(row, Run) else None for row in rows]
    heights = _heights(times, ask, otherwise)
    if heights is None:
        return None
    placed: list[Item] = []
    for row, time, height in zip(rows, times, heights, strict=True):
        run_id = row.run_id if isinstance(row, Run) else ""
        name = digest(run_id, "") if isinstance(row, Run) else _digest_of_text(row)
        placed.append(Item(height, name, run_id, row, ask=ask, is_dated=time is not None))
    return tuple(placed)


def _heights(times: Sequence[Micros | None], ask: Ask, otherwise: Micros) -> list[Micros] | None:
    """Return where rows stand in time; None where a full page has no time at all.

    One without a time takes that of the row before it, the first ones that of the next.
    """
    known = next((time for time in times if time is not None), None)
    if known is None:
        if times and len(times) == ask.size:
            return None
        known = otherwise
    heights: list[Micros] = []
    for time in times:
        known = known if time is None else time
        heights.append(known)
    return heights


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
        "payload": row.payload,
        "late": one.late,
        "ingested_at": now,
        "extra": row.extra,
    }


def original(row: object) -> str:
    """Return a row's JSON text, for its dead letter."""
    if isinstance(row, Event):
        return row.text()
    return jsontext.dumps(row.raw if isinstance(row, Malformed) else row)


def _time(row: Event | Malformed) -> Micros | None:
    return moment(row.timestamp if isinstance(row, Event) else _timestamp(row.raw))


def _timestamp(raw: Any) -> str:
    """Return what stands where an event has its timestamp, also if it is no event otherwise."""
    found = raw.get("timestamp") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""


def _digest(row: Event | Malformed) -> bytes:
    return digest(row.run_id, row.event_id) if isinstance(row, Event) else _digest_of_text(row)


def _digest_of_text(row: Malformed) -> bytes:
    text = jsontext.dumps(row.raw).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
