"""How late events appear, measured, and how wide the lateness window must be. Pure.

What counts is how far an event's timestamp lies below the frontier when it is first seen: the
frontier stands still during an outage, so an outage makes no event late.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from bridge.clock import SECOND, Micros
from bridge.config.models import SourceSettings
from bridge.source.checkpoint.position import Configured, Late
from bridge.source.reading.windows import Item

MARGIN: Final = 2
"""The window is so many times the worst lateness of the last day, within its bounds."""

REMEMBERED: Final[Micros] = 86_400 * SECOND


def configured(source: SourceSettings) -> Configured:
    """Return what a checkpoint tells of the settings that it is written with."""
    return Configured(
        lateness=round(source.lateness * SECOND),
        lateness_max=round(source.lateness_max * SECOND),
        audit_interval=round(source.audit_interval * SECOND),
    )


def how_late(items: Iterable[Item], frontier: Micros | None) -> list[Micros]:
    """Return by how much each item lies below the frontier; those above it are not late."""
    if frontier is None:
        return []
    return [frontier - item.at for item in items if item.at < frontier]


def worst(before: Late | None, measured: Iterable[Micros], now: Micros) -> Late | None:
    """Return the worst lateness of the last day, with what was measured now."""
    if before is not None and before.at < now - REMEMBERED:
        before = None
    most = max(measured, default=0)
    if most > 0 and (before is None or most >= before.by):
        return Late(most, now)
    return before


def window(bounds: Configured, measured: Late | None) -> Micros:
    """Return the lateness window in use."""
    if measured is None:
        return bounds.lateness
    return max(bounds.lateness, min(bounds.lateness_max, MARGIN * measured.by))
