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

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, TypeVar

from bridge.clock import Micros

BEGINNING: Micros = -(2**63)
"""Older than any event: the `stop` of a source that wants everything."""

FORWARD_WINDOWS = 8
"""A forward pass over more windows than this is a backlog: it is climbed, in bounded memory."""

IDLE_WINDOWS = 2
"""So many windows without news in a forward pass: links cannot be had, so it is a backlog."""

PATIENCE = 100
"""After so many requests in vain a pass gives up on links, and the list is read to its end."""

SLACK = 3
"""How many items two windows overlap at least, so that a small shift does not unlink them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A page request; `page` counts from 1."""

    page: int
    size: int

    @property
    def offset(self) -> int:
        """Offset of the window's first item."""
        return (self.page - 1) * self.size


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the feed: when it happened, who it is, and the row itself, not looked at here.

    `checksum` is of its content (0: not known), `ask` the request that found it. One that is not
    dated has no readable time: `at` is that of a neighbour, another one each time.
    """

    at: Micros
    digest: bytes
    run_id: str
    row: object
    checksum: int = 0
    ask: Ask | None = None
    is_dated: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """The answer to one `Ask`: items newest first, and a lower bound of the server's clock."""

    ask: Ask
    items: Sequence[Item]
    server_time: Micros
    total: int

    @property
    def end(self) -> int:
        """Offset behind the window's last item."""
        return self.ask.offset + len(self.items)

    @property
    def oldest(self) -> Micros:
        """Timestamp of the last item."""
        return self.items[-1].at

    @property
    def is_sorted(self) -> bool:
        """Whether the items really are sorted, newest first."""
        return all(a.at >= b.at for a, b in pairwise(self.items))


Tie = Literal["top", "newer", "older", "end", "ties", "none"]
"""What links a window to the one before; the schema of AuditRecord explains each."""


@dataclass(frozen=True, slots=True)
class Link:
    """A window that was used, for the certificate of its sweep."""

    ask: Ask
    count: int
    newest: Micros | None
    oldest: Micros | None
    tie: Tie

    @classmethod
    def of(cls, window: Window, tie: Tie) -> Link:
        """Return what the certificate says of a window."""
        items = window.items
        times = [item.at for item in items]
        newest, oldest = max(times, default=None), min(times, default=None)
        return cls(window.ask, len(items), newest, oldest, tie)


@dataclass(frozen=True, slots=True)
class Found:
    """Items of a climb, oldest first; once they are committed, the climb goes on from `low`.

    `newest` is the newest timestamp so far that is not beyond the time at which the climb began,
    `links` are the windows since the `Found` before. `short` is the timestamp of the oldest item
    where the proven end of the feed did not reach down to `low`: what the feed lost must be noted
    with these items, as whoever goes on from them will not see it any more.
    """

    items: list[Item]
    low: Micros
    newest: Micros | None
    links: tuple[Link, ...] = ()
    short: Micros | None = None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a pass came to.

    `items` are oldest first (empty for a climb that succeeds: it yields them). `complete` says
    that nothing at or above `stop` was left unread, so the frontier may move. `gap` says that the
    proven end of the feed did not reach down to `stop`: items may have fallen off before they were
    read. `bottom` is the timestamp of the oldest item, where the end of the feed was proven.
    """

    items: list[Item]
    server_time: Micros
    newest: Micros | None
    complete: bool
    gap: bool = False
    backlog: bool = False
    is_sorted: bool = True
    total: int = 0
    links: tuple[Link, ...] = ()
    bottom: Micros | None = None

    @property
    def height(self) -> Micros:
        """Where what was there when the pass began ends, at least.

        The first window tells, should the server's clock be far behind its events.
        """
        first = self.links[0].oldest if self.links else None
        return self.server_time if first is None else max(first, self.server_time)


class NoLinks(Exception):
    """The list is not sorted, or its windows do not link: it can only be read to its end."""


T = TypeVar("T")
Reading: TypeAlias = Generator[Ask | Found, Window, T]


def oldest_first(items: Sequence[Item]) -> list[Item]:
    """Sort by time; ties in the reverse of the order in which the feed listed them."""
    upwards = items[::-1]
    return sorted(upwards, key=lambda item: item.at)


def newest_not_beyond(items: Sequence[Item], limit: Micros) -> Micros | None:
    """Return the newest timestamp that is not beyond `limit`: a future-dated item says nothing."""
    return max((item.at for item in items if item.at <= limit), default=None)


def window_from(offset: int, largest: int) -> Ask:
    """Choose page and size so that the window begins at `offset` or shortly before it."""
    sizes = range(max(1, largest // 2), largest + 1)
    size = max(sizes, key=lambda s: s - offset % s)
    return Ask(offset // size + 1, size)


def window_around(offset: int, largest: int, below: int) -> Ask:
    """Choose page and size so that `offset` lies near the end, with `below` items after it."""
    sizes = range(max(1, largest // 2), largest + 1)
    fitting = [s for s in sizes if s - offset % s > below]
    if fitting:
        size = max(fitting, key=lambda s: offset % s)
    else:
        size = max(sizes, key=lambda s: s - offset % s)
    return Ask(offset // size + 1, size)


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


def is_end(before: Window) -> Reading[bool]:
    """Ask for the page after `before`, for `before` again, and for the page after it again.

    It is the end if both answers are empty and nothing of `before` moved in between: a deletion
    pulls the rest of the list up, out of the next page, into what was read already.
    """
    ask = before.ask
    window = yield Ask(ask.page + 1, ask.size)
    if window.items:
        return False
    again = yield ask
    if _settled(again, before) != _settled(before, before):
        return False
    return (yield from is_last(before))


def is_last(before: Window) -> Reading[bool]:
    """Ask for the page after `before`; only an empty answer may mean that it was the last one.

    A server that filters rows after it counted them has empty pages in the middle. So where a
    total speaks of more, ever later pages up to the last one must be empty as well; a total that
    is wrong costs a few requests and nothing else.
    """
    ask = before.ask
    window = yield Ask(ask.page + 1, ask.size)
    page, step, last = ask.page + 1, 1, -(-max(window.total, before.total) // ask.size)
    while not window.items and page < last:
        page, step = min(page + step, last), 2 * step
        window = yield Ask(page, ask.size)
    return not window.items


def _settled(window: Window, like: Window) -> set[bytes]:
    """Name what neither arrivals nor ties change in a window like `like`: all but the newest."""
    if not like.items:
        return {item.digest for item in window.items}
    newest = max(item.at for item in like.items)
    return {item.digest for item in window.items if item.at < newest}


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
