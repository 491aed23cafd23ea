"""From the rows of a page to items with a place in time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from bridge.clock import Micros
from bridge.missions import jsontext
from bridge.missions.models import Event, Malformed, Run
from bridge.missions.timestamps import moment
from bridge.source.identity import digest
from bridge.source.reading.content import checksum
from bridge.source.reading.windows import Ask, Item


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
        if isinstance(row, Event):
            run_id, name = row.run_id, digest(row.run_id, row.event_id)
        else:
            run_id, name = "", _digest_of_text(row)
        placed.append(Item(height, name, run_id, row, checksum(row), ask, time is not None))
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


def _time(row: Event | Malformed) -> Micros | None:
    return moment(row.timestamp if isinstance(row, Event) else _timestamp(row.raw))


def _timestamp(raw: Any) -> str:
    """Return what stands where an event has its timestamp, also if it is no event otherwise."""
    found = raw.get("timestamp") if isinstance(raw, dict) else None
    return found if isinstance(found, str) else ""


def _digest_of_text(row: Malformed) -> bytes:
    text = jsontext.dumps(row.raw).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()
