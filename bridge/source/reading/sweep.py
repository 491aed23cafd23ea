"""One pass over the feed, as pure code: it asks for windows, is given pages, and decides.

The feed is a list without cursor: offsets shift while it is read, because events are inserted and
deleted between two requests. What makes a pass sound is the link rule: in a list sorted by time
nothing can hide between two windows if the later one shows an item strictly beyond the boundary of
the earlier one. So windows are made to overlap, an unlinked window is never used, and the end of
the feed is only believed when the next page is empty twice, and nothing moved meanwhile.

A pass is a generator. It yields `Ask` and is sent a `Window`; it yields `Found` and is sent
nothing. Whoever drives it does the I/O. Words used here:

- window: one page request, the offsets [offset, offset + size) of the list, newest item first;
- low: everything older than it is published, so a climb links by items below it;
- stop: a sweep may end below it, because everything older was settled before.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import Micros
from bridge.source.reading.windows import (
    BEGINNING,
    SLACK,
    Ask,
    Item,
    Link,
    Reading,
    Swept,
    Window,
    is_end,
    newest_not_beyond,
    oldest_first,
    window_from,
)

FORWARD_WINDOWS = 8
"""A forward pass over more windows than this is a backlog: it is climbed, in bounded memory."""

IDLE_WINDOWS = 2
"""So many windows without news in a forward pass: links cannot be had, so it is a backlog."""


def forward(
    stop: Micros, largest: int, known: Callable[[bytes], bool], *, deep: bool
) -> Reading[Swept]:
    """Read from the newest item down, through linked windows.

    A deep pass ends below `stop`. A shallow one ends, besides, at the first window whose oldest
    item is known: it finds what is new with one request and never moves the frontier. Too many
    windows, or a run of equal timestamps longer than a window, are a backlog, to be climbed; so is
    a first read of a list that says it is long. A list that is not sorted by time is read to its
    end by a deep pass, and no further by a shallow one.
    """
    window = first = yield Ask(1, largest)
    found: dict[bytes, Item] = {}
    links: list[Link] = []
    back, idle = SLACK, 0

    def swept(
        *, complete: bool = False, end: bool = False, backlog: bool = False, is_sorted: bool = True
    ) -> Swept:
        items = oldest_first(list(found.values()))
        return Swept(
            items,
            first.server_time,
            newest_not_beyond(items, first.server_time),
            complete,
            gap=end and stop > BEGINNING and not any(item.at < stop for item in items),
            bottom=items[0].at if end and items else None,
            backlog=backlog,
            is_sorted=is_sorted,
            total=first.total,
            links=tuple(links),
        )

    links.append(Link.of(first, "top"))
    is_known = not deep and bool(first.items) and known(first.items[-1].digest)
    if stop == BEGINNING and not is_known and first.total > FORWARD_WINDOWS * largest:
        return swept(backlog=True)
    for _ in range(FORWARD_WINDOWS):
        if not window.is_sorted and deep:
            return (yield from to_the_end(first, window, found))
        found.update((item.digest, item) for item in window.items)
        if window.is_sorted and window.items and window.oldest < stop:
            return swept(complete=True)
        enough = not deep and window.items and known(window.items[-1].digest)
        if enough or not window.is_sorted:
            return swept(is_sorted=window.is_sorted)
        if len(window.items) < window.ask.size and (yield from is_end(window)):
            links[-1] = Link.of(window, "end" if window.ask.offset else "top")
            return swept(complete=True, end=True)
        below, back = yield from _next_below(window, largest, back)
        if below is None:
            break
        idle += all(item.digest in found for item in below.items)
        if idle == IDLE_WINDOWS:
            break
        window = below
        links.append(Link.of(window, "newer" if window.ask.offset else "top"))
    return swept(backlog=True)


def _next_below(window: Window, largest: int, back: int) -> Reading[tuple[Window | None, int]]:
    """Read the window that follows `window` and is linked to it; step back until one is.

    Returns it with the overlap to try next time, or None where a run of equal timestamps leaves
    no room for a link and new items in one window.
    """
    newer = sum(1 for item in window.items if item.at > window.oldest)
    if newer == 0 and window.items:
        return None, back
    start = window.ask.offset + max(newer - 1, 0)
    ask = window_from(max(0, start - back), largest)
    if ask.offset + ask.size <= window.end:
        ask = window_from(max(0, start - SLACK), largest)
    if window.items and ask.offset + ask.size <= window.end:
        return None, SLACK
    while True:
        below = yield ask
        if ask.offset == 0 or any(item.at > window.oldest for item in below.items):
            return below, max(SLACK, back // 2)
        back = min(back * 4, max(start, SLACK))
        ask = window_from(max(0, start - back), largest)


def to_the_end(first: Window, window: Window, found: dict[bytes, Item]) -> Reading[Swept]:
    """Read on from `window` to the end of a list in which links prove nothing, or cannot be had.

    What is found is worth publishing, but nothing is proven: the pass is not complete.
    """
    largest = first.ask.size
    is_sorted = True
    links: list[Link] = []
    while True:
        is_sorted = is_sorted and window.is_sorted
        links.append(Link.of(window, "none"))
        found.update((item.digest, item) for item in window.items)
        if len(window.items) < window.ask.size and (yield from is_end(window)):
            break
        behind = window.ask.offset + window.ask.size
        ask = window_from(max(0, behind - SLACK), largest)
        if ask.offset + ask.size <= behind:
            ask = window_from(behind, largest)
        window = yield ask
    items = oldest_first(list(found.values()))
    return Swept(
        items,
        first.server_time,
        newest_not_beyond(items, first.server_time),
        complete=False,
        is_sorted=is_sorted,
        total=first.total,
        links=tuple(links),
    )
