"""Passes over a list that shows the oldest event first. Pure, like `sweep.py`, whose words hold.

Such a list grows at its end, so offsets stand still but for deletions and late events, and there is
one direction to read in: up. An item older than `low` links a window to what was read before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bridge.clock import Micros
from bridge.source.reading import sweep, windows
from bridge.source.reading.sweep import FORWARD_WINDOWS
from bridge.source.reading.windows import (
    BEGINNING,
    PATIENCE,
    SLACK,
    Ask,
    Found,
    Item,
    Link,
    NoLinks,
    Reading,
    Swept,
    Window,
)

QUIET = 8
"""So many passes in a row over a run of equal timestamps must add nothing: it may be listed in
another order each time."""


ENOUGH = 4
"""Different timestamps that it takes to tell the order of a list."""


def is_rising(items: Sequence[Item]) -> bool:
    """Whether items are sorted oldest first, and are enough to say so.

    Two or three prove nothing: one of them may show a time that is not its own.
    """
    times = [item.at for item in items]
    return times == sorted(times) and len(set(times)) >= ENOUGH


def top(stop: Micros, largest: int, known: Callable[[bytes], bool], total: int) -> Reading[Swept]:
    """Read what is new at the end of the list: one request while nothing or little is.

    `total` is where the end was last (0: not known); `Swept.total` is where it is now. The result
    is never complete. A backlog is what has too many windows, or no link to anything known.
    """
    total = total or (yield Ask(1, largest)).total
    window = yield windows.window_from(max(0, total - SLACK), largest)
    first, links, found = window, [Link.of(window, "older")], list[Item]()
    linked = not window.ask.offset or any(
        item.at < stop or known(item.digest) for item in window.items
    )
    for _ in range(FORWARD_WINDOWS):
        if not linked or not _sorted(window):
            break
        found += window.items
        total = window.end
        if len(window.items) < window.ask.size:
            newest = windows.newest_not_beyond(found, first.server_time)
            items = _in_time(found)
            return Swept(
                items,
                first.server_time,
                newest,
                complete=False,
                total=total,
                links=tuple(links),
            )
        boundary = window.items[-1].at
        window = yield windows.window_from(max(0, window.end - SLACK), largest)
        links.append(Link.of(window, "older"))
        linked = any(item.at < boundary for item in window.items)
    return Swept(
        [],
        first.server_time,
        None,
        complete=False,
        backlog=True,
        total=first.total,
        links=tuple(links),
    )


class _Rise:
    """The state of one pass: from the items older than `low` up."""

    def __init__(self, low: Micros, began: Micros, until: Micros, largest: int) -> None:
        self.low = low
        self.began = began
        self.until = max(began, until)
        self.largest = largest
        self.newest = min(low, began) if low > BEGINNING else None
        self.links: list[Link] = []
        self.beginning: Micros | None = None
        self.short: Micros | None = None
        self._patience = PATIENCE

    def _read(self, ask: Ask) -> Reading[Window]:
        self._patience -= 1
        window = yield ask
        if self._patience < 0 or not _sorted(window):
            raise NoLinks
        return window

    def linked(self, offset: int) -> Reading[Window]:
        """Read a window that shows an item older than `low`, or the proven beginning of the list.

        Raises NoLinks.
        """
        step = SLACK
        while True:
            window = yield from self._read(windows.window_from(max(0, offset), self.largest))
            older = sum(1 for item in window.items if item.at < self.low)
            if window.items and older == len(window.items) == window.ask.size:
                offset, step = window.end - 1, SLACK
            elif older or not window.ask.offset:
                if not window.ask.offset and window.items:
                    self.beginning = window.items[0].at
                self.links.append(Link.of(window, "older" if older else "end"))
                return window
            else:  # deletions moved the boundary up
                offset = window.ask.offset - step
                step = 2 * step

    def ties(self, window: Window) -> Reading[Window]:
        """Read a run of items at `low` that is longer than a window, until passes add nothing.

        Returns a window that shows what follows the run, or the end. Raises NoLinks.
        """
        seen: set[bytes] = set()
        quiet, start = -1, window.ask.offset
        while True:
            added: list[Item] = []
            while True:
                run = [item for item in window.items if item.at == self.low]
                added += [item for item in run if item.digest not in seen]
                seen.update(item.digest for item in run)
                self._patience = PATIENCE if run else self._patience
                if len(window.items) < window.ask.size or window.items[-1].at > self.low:
                    break
                behind = windows.window_from(max(0, window.end - SLACK), self.largest)
                window = yield from self._read(behind)
                self.links.append(Link.of(window, "ties"))
            if added:
                yield self._found(added)
            quiet = 0 if added else quiet + 1
            if quiet >= QUIET:
                return window
            window = yield from self.linked(start)

    def publish(self, items: Sequence[Item]) -> Reading[None]:
        """Hand out items, and raise `low` to the newest of them."""
        self._patience = PATIENCE
        self.low = max(self.low, items[-1].at)
        newest = windows.newest_not_beyond(items, self.began)
        self.newest = newest if newest is not None else self.newest
        yield self._found(_in_time(items))

    def at_end(self, window: Window) -> Reading[bool]:
        """Whether nothing follows `window`: the next page is empty, twice.

        What a deletion pulls out of sight here is newer than the frontier will be: the next pass
        reads it.
        """
        if len(window.items) == window.ask.size or not (yield from windows.is_last(window)):
            return False
        return (yield from windows.is_last(window))

    def _found(self, items: list[Item]) -> Found:
        """Hand out items with the windows used since this was done last."""
        links, self.links = tuple(self.links), []
        return Found(items, self.low, self.newest, links, self.short)


def rise(
    low: Micros, began: Micros, largest: int, total: int, until: Micros = BEGINNING
) -> Reading[Swept]:
    """Read from the items older than `low` up to the end, handing them out oldest first.

    Ends at the proven end, or when `low` passes `began` and `until`. Whoever drives it stores the
    `low` of each `Found` with its items: from there a new pass goes on. A list that cannot be read
    so is read whole.
    """
    state = _Rise(low, began, until, largest)
    try:
        yield from _up(state, total)
    except NoLinks:
        first = yield Ask(1, largest)
        return (yield from sweep.to_the_end(first, first, {}))
    return Swept(
        [],
        began,
        state.newest,
        complete=True,
        gap=state.short is not None,
        links=tuple(state.links),
        bottom=state.beginning,
    )


def _up(state: _Rise, total: int) -> Reading[None]:
    """Rise from window to window. Raises NoLinks."""
    offset = yield from locate(state.low, state.largest, total)
    lowest = state.low
    while True:
        window = yield from state.linked(offset)
        fresh = [item for item in window.items if item.at >= state.low]
        if lowest > BEGINNING and state.low == lowest and len(fresh) == len(window.items):
            # Nothing older than the first `low` is there, perhaps nothing at all.
            state.short = lowest if state.beginning is None else state.beginning
        full = len(window.items) == window.ask.size
        if fresh and full and fresh[-1].at == state.low:
            window = yield from state.ties(window)
            fresh = [item for item in window.items if item.at > state.low]
        if fresh:
            yield from state.publish(fresh)
        if state.low > state.until or (yield from state.at_end(window)):
            return
        offset = window.end - sum(1 for item in window.items if item.at >= state.low) - 1


def locate(low: Micros, largest: int, total: int) -> Reading[int]:
    """Return about where the items older than `low` end; nothing rests on it being right."""
    if low == BEGINNING:
        return 0
    if not total:
        total = (yield Ask(1, largest)).total
    below, above = 0, -(-total // largest) + 1
    while above - below > 1:
        page = (above + below) // 2
        window = yield Ask(page, largest)
        older = sum(1 for item in window.items if item.at < low)
        if window.items and older == len(window.items):
            below = page
        elif older:
            return window.ask.offset + older - 1
        else:
            above = page
    return max(0, below * largest - 1)


def _sorted(window: Window) -> bool:
    times = [item.at for item in window.items]
    return times == sorted(times)


def _in_time(items: Sequence[Item]) -> list[Item]:
    """Sort by time; ties stay in the order in which the feed listed them."""
    return sorted({item.digest: item for item in items}.values(), key=lambda item: item.at)
