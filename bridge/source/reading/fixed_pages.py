"""Windows of any offset over a server that gives pages of its own size only. Pure.

Such pages never overlap, so no window could show anything beyond the one before. Two neighbours
A and B are whole when B shows an item of A (arrivals pushed it down), or when both, read once more,
are what they were. A alone would not do: a deletion may pull an item from B into A just before B is
read, and an arrival push it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from bridge.source.reading.windows import Ask, Found, Item, Reading, Window

TRIES = 20
"""Times that neighbours are read while the list goes on changing between the reads."""

T = TypeVar("T")


def over_fixed_pages(steps: Reading[T], size: int) -> Reading[T]:
    """Run a pass that asks for windows of up to `size`, asking for whole pages of `size` alone.

    A window whose pages never stood still comes back empty: whoever asked takes it for unlinked.
    """
    try:
        step = next(steps)
        while True:
            if isinstance(step, Found):
                yield step
                step = next(steps)
            else:
                window = yield from _window(step, size)
                step = steps.send(window)
    except StopIteration as done:
        result: T = done.value
        return result


def _window(ask: Ask, size: int) -> Reading[Window]:
    """Read the page that holds a window, or the two that do."""
    first, last = ask.offset // size + 1, (ask.offset + ask.size - 1) // size + 1
    if first == last:
        page = yield Ask(first, size)
        return _cut(ask, page.items, page)
    above = yield Ask(first, size)
    for _ in range(TRIES):
        below = yield Ask(last, size)
        joined = _joined(above.items, below.items)
        if joined is not None:
            return _cut(ask, joined, above)
        again = yield Ask(first, size)
        if _alike(again, above) and _alike((yield Ask(last, size)), below):
            return _cut(ask, [*above.items, *below.items], above)
        above = again
    return _cut(ask, (), above)


def _alike(one: Window, other: Window) -> bool:
    return [item.digest for item in one.items] == [item.digest for item in other.items]


def _joined(above: Sequence[Item], below: Sequence[Item]) -> list[Item] | None:
    """Return both pages as one list if they share an item, None if they do not."""
    there = {item.digest for item in above}
    if not any(item.digest in there for item in below):
        return None
    return [*above, *(item for item in below if item.digest not in there)]


def _cut(ask: Ask, items: Sequence[Item], page: Window) -> Window:
    """Return what lies at the window's offsets, of items that begin at those of a page."""
    start = ask.offset - page.ask.offset
    return Window(ask, items[start : start + ask.size], page.server_time, page.total)
