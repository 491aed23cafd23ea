"""What a climb has read and not committed yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bridge.clock import Micros
from bridge.source.certificate import Proof
from bridge.source.sweep import Item, Link

GROUP_ITEMS: Final = 4000
"""A climb commits when it holds so many items: a transaction has a flat cost."""

GROUP_SECONDS: Final = 1.0
"""... or when it has held the first of them for so long."""

QUIET_WINDOWS: Final = 100
"""A climb over what is known already notes its height after so many windows."""


@dataclass(slots=True)
class Group:
    """Windows of a climb that wait for their transaction; `low` and `short` as in `Found`."""

    proof: Proof
    since: float
    items: list[Item] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    low: Micros | None = None
    short: Micros | None = None

    def full(self, now: float) -> bool:
        """Whether it is time for its transaction."""
        if len(self.items) >= GROUP_ITEMS or len(self.links) >= QUIET_WINDOWS:
            return True
        return bool(self.items) and now - self.since >= GROUP_SECONDS
