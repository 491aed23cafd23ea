"""Where events may be missing that no sweep will show: audits of the runs must look. Pure."""

from __future__ import annotations

from typing import Final

from bridge.clock import SECOND, Micros
from bridge.source.checkpoint.position import Hole, Position
from bridge.source.reading.windows import BEGINNING, Swept

NOISE: Final[Micros] = 2 * SECOND
"""Dates are of whole seconds: so far the server's clock may seem to be behind the frontier."""


EVER: Final[Micros] = 0
"""`low` of a hole in which nothing was settled before, from the beginning of the feed on."""


def unknown_past(before: Position, swept: Swept) -> Hole | None:
    """Return the hole of a first sweep: what the feed showed no more, the runs may still show."""
    if not swept.complete:
        return before.hole
    if before.floor is None:
        return Hole(EVER, None)
    return Hole(before.floor, None) if swept.gap else before.hole


def fallen_off(before: Position, stop: Micros, bottom: Micros | None) -> Hole | None:
    """Return what a feed may have lost that ended above `stop`; None if it ended there before.

    `bottom` is the timestamp of its oldest item, None where it showed none.
    """
    if bottom is not None and bottom == before.bottom:
        return None
    return Hole(EVER if stop == BEGINNING else stop, bottom)


def out_of_reach(
    position: Position, server_time: Micros, lateness: Micros, cap: Micros
) -> Hole | None:
    """Return the stretch below which sweeps do not read, and in which new events may be stamped.

    There is one after the server's clock was set back by more than the lateness cap, until it has
    caught up: `server_time` is a lower bound of what it shows. Older digests are expired, so the
    feed cannot tell what is new there.
    """
    if position.frontier is None or server_time >= position.frontier - NOISE:
        return None
    kept_from = BEGINNING if position.kept_from is None else position.kept_from
    reach = max(position.frontier - cap, kept_from)
    oldest_new = server_time - lateness
    return Hole(oldest_new, reach) if oldest_new < reach else None
