"""Windows of a list that shows the newest first: what one is, and how two are linked. Pure."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias, TypeVar

import msgspec

from bridge.clock import Micros

BEGINNING: Micros = -(2**63)
"""Older than any event: the `stop` of a source that wants everything."""


PATIENCE = 100
"""After so many requests in vain a pass gives up on links, and the list is read to its end."""


SLACK = 3
"""How many items two windows overlap at least, so that a small shift does not unlink them."""


Tie = Literal["top", "newer", "older", "end", "ties", "none"]
"""What links a window to the one before; the schema of AuditRecord explains each."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A page request; `page` counts from 1."""

    page: int
    size: int

    @property
    def offset(self) -> int:
        """Offset of the window's first item."""
        return (self.page - 1) * self.size


class Item(msgspec.Struct, frozen=True, gc=False):
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
