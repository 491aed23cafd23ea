"""The way up: a backlog read from its old end to the newest event, oldest first.

Pure like `sweep.py`, whose words and rules hold here: an item older than `low` links a window to
what was read before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from bridge.clock import Micros
from bridge.source.reading import sweep, windows
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

TRIES = 20
"""After so many windows without a link there are positions between that show nothing."""

QUIET = 2
"""So many passes in a row over a run of equal timestamps must add nothing ..."""

QUIET_UNSTABLE = 8
"""... and so many where the run is listed in another order each time."""


def locate(low: Micros, largest: int, total: int, around: int = 0) -> Reading[int]:
    """Return about where the items older than `low` begin.

    `total` and `around`, where they began before, are only hints, and nothing rests on the answer
    being right: the climb that begins there looks for itself.
    """
    if not total:
        total = (yield Ask(1, largest)).total
    if low == BEGINNING:
        return total
    # Without a total the page below is found by ever longer steps.
    above, below = 0, -(-total // largest) + 1 if total else 0
    guess, step = around // largest + 1 if around else 0, 1
    while not below or below - above > 1:
        otherwise = (above + below) // 2 if below else 2 * above + 1
        page = guess if above < guess and (guess < below or not below) else otherwise
        window = yield Ask(page, largest)
        newer = sum(1 for item in window.items if item.at >= low)
        if window.items and newer == len(window.items):
            above, guess = page, page + step
        elif newer:
            return window.ask.offset + newer
        else:
            below, guess = page, page - step
        step *= 2
    return above * largest


class _Climb:
    """The state of one climb: from the items older than `low` up to `until`."""

    def __init__(
        self, low: Micros, began: Micros, until: Micros, largest: int, length: Callable[[], int]
    ) -> None:
        self.low = low
        self.length = length
        self.began = began
        self.until = max(began, until)
        self.largest = largest
        self.newest = min(low, began) if low > BEGINNING else None
        self.short: Micros | None = None
        self.links: list[Link] = []
        self.end: Micros | None = None
        self._below = SLACK
        self._step = 0
        self._patience = PATIENCE

    def _read(self, ask: Ask) -> Reading[Window]:
        """Read a window. Raises NoLinks where it is not sorted, or nothing was won for long."""
        self._patience -= 1
        window = yield ask
        if self._patience < 0 or not window.is_sorted:
            raise NoLinks
        return window

    def bottom(self, total: int) -> Reading[tuple[Window, int]]:
        """Read the last window of the list: the one behind which the next page is empty twice.

        Returns it with the number of its items. A list that grows while its end is proven pushes
        items onto that next page, so the window is placed to hold few items and much room.
        Raises NoLinks.
        """
        few = self.largest // 4
        start = max(0, total - few)
        filled, empty = 0, 0
        while True:
            window = yield from self._read(windows.window_from(start, self.largest))
            behind = window.ask.offset + window.ask.size
            # The total is a hint: where it lies, or is not known, the end is found by ever longer
            # steps down, and by halving what is between them.
            told = 0 if 0 < empty <= window.total else window.total
            if len(window.items) == window.ask.size:
                filled = behind
                if behind < empty:
                    start = max(behind, (behind + empty) // 2 - few)
                    continue
                empty = 0
                self._step = 0 if told > behind else max(self.largest, 2 * self._step)
                start = max(told, behind + self._step)
            elif not (yield from windows.is_end(window)):
                start = max(told, window.end)
            elif window.items or not window.ask.offset:
                self._step = 0
                self.links.append(Link.of(window, "end"))
                self.end = window.oldest if window.items else None
                return window, len(window.items)
            else:
                empty = window.ask.offset
                half = (filled + empty) // 2
                start = max(0, min(half, empty - few) if told < half else min(told, empty) - few)

    def linked(self, offset: int) -> Reading[tuple[Window, int]]:
        """Read a window that shows an item older than `low`, or the proven end.

        Returns it with the number of its items that are not older. Raises NoLinks.
        """
        if self.low == BEGINNING:
            return (yield from self.bottom(offset))
        start = offset
        for _ in range(TRIES):
            window = yield from self._read(windows.window_around(offset, self.largest, self._below))
            newer = sum(1 for item in window.items if item.at >= self.low)
            if newer < len(window.items) and (newer or not window.ask.offset):
                self._below = max(SLACK, self._below * 7 // 8)
                self._step = 0
                self.links.append(Link.of(window, "older"))
                return window, newer
            if newer < len(window.items):
                offset = max(0, window.ask.offset - 1 + min(self._step, 0))
                self._step = min(-self.largest // 4, 2 * self._step)
            elif len(window.items) < window.ask.size and (yield from windows.is_end(window)):
                if window.items or not window.ask.offset:
                    self.end = window.oldest if window.items else None
                    self.short = self.end
                    self.links.append(Link.of(window, "end"))
                    return window, newer
                around = yield from locate(self.low, self.largest, window.total)
                offset = min(around, window.ask.offset - 1)
                self._step = 0
            else:
                # Arrivals pushed it down: leave room below, which costs nothing, as they push what
                # is to be read into the window as well.
                offset = window.ask.offset + window.ask.size + max(self._step, 0)
                self._step = max(self.largest // 2, 2 * self._step)
                self.leave_room(max(2 * self._below, self.largest // 8))
        return (yield from self._across(start))

    def leave_room(self, rows: int) -> None:
        """Place the next windows so that they reach so many rows below what is looked for."""
        self._below = max(self._below, min(rows, self.largest * 3 // 4))

    def _across(self, offset: int) -> Reading[tuple[Window, int]]:
        """Link over positions that show nothing, more of them than a window holds.

        So it is where a server filters rows after it counted them. From an item older than `low`
        up to one that is newer, the same must stand at the same positions twice in a row.
        Raises NoLinks.
        """
        if self.largest <= 2 * SLACK:
            raise NoLinks
        before: list[Window] = []
        while True:
            window = yield from self._read(windows.window_around(offset, self.largest, SLACK))
            while not any(item.at < self.low for item in window.items):
                short = len(window.items) < window.ask.size
                if short and (yield from windows.is_end(window)):
                    break
                behind = window.ask.offset + window.ask.size - SLACK
                window = yield from self._read(windows.window_from(behind, self.largest))
            path = [window]
            while window.ask.offset and not any(item.at > self.low for item in window.items):
                above = window.ask.offset - 1
                window = yield from self._read(windows.window_around(above, self.largest, SLACK))
                path.append(window)
            if _alike(path, before):
                self.links += [Link.of(one, "older") for one in path]
                ties = [item for one in path for item in one.items if item.at == self.low]
                if ties:
                    yield self._found(ties)
                return window, sum(1 for item in window.items if item.at >= self.low)
            before, offset = path, path[0].ask.offset

    def past_ties(self, window: Window, newer: int) -> Reading[Window]:
        """Read on from a window that shows nothing newer than `low`, only items at `low`.

        Returns a window that shows something newer, or is the first of the list. Raises NoLinks.
        """
        few = self.largest // 4
        if newer < few:  # the window lies low, or what is above it shows nothing
            self._below = SLACK
            window, newer = yield from self.linked(window.ask.offset + newer - 1)
            if window.items[0].at > self.low or not window.ask.offset:
                return window
            if newer < few:
                window, _ = yield from self._across(window.ask.offset + newer - 1)
                return window
        return (yield from self.through_ties(window, newer))

    def through_ties(self, window: Window, newer: int) -> Reading[Window]:
        """Read a run of items at `low` that is longer than a window, until passes add nothing.

        Membership proves nothing here, as equal timestamps may be listed in another order each
        time; so the run is read by position, from its older end up, again and again.
        Returns the window above the run, which shows something newer or is the first of the list.
        Raises NoLinks.
        """
        seen: dict[bytes, Item] = {}
        quiet, enough = -1, QUIET
        for _ in range(PATIENCE):
            bottom = window.ask.offset + newer
            window, ties, whole = yield from self._pass(window, seen)
            added = [item for digest, item in ties.items() if digest not in seen]
            if [one for one in ties if one in seen] != [one for one in seen if one in ties]:
                enough = QUIET_UNSTABLE
            seen.update(ties)
            if added:
                self._patience = PATIENCE
                yield self._found(added)
            quiet = quiet + 1 if whole and not added else 0
            if quiet >= enough:
                return window
            window, newer = yield from self.linked(bottom)
            if not window.ask.offset or window.items[0].at > self.low:
                return window
        raise NoLinks

    def _pass(
        self, window: Window, seen: Mapping[bytes, Item]
    ) -> Reading[tuple[Window, dict[bytes, Item], bool]]:
        """Read a run of items at `low` once, from its older end up.

        Returns the window at which the pass ended, the run's items in reversed order of the list,
        and whether its newer end was reached. Raises NoLinks.
        """
        ties: dict[bytes, Item] = {}
        highest = window.ask.offset
        while True:
            for item in reversed(window.items):
                if item.at == self.low:
                    ties.setdefault(item.digest, item)
            if not window.ask.offset or any(item.at > self.low for item in window.items):
                return window, ties, True
            above = yield from self._above(window, lambda one: one in seen or one in ties)
            if above is None:
                return window, ties, False
            window = above
            if window.ask.offset < highest:
                highest = window.ask.offset
                self._patience = PATIENCE

    def _above(self, window: Window, seen: Callable[[bytes], bool]) -> Reading[Window | None]:
        """Read the window above `window`: one that shows something seen, or older than the run.

        None where there is no such window any more, because the list was cut down meanwhile.
        Raises NoLinks.
        """
        offset = window.ask.offset - 1
        while True:
            above = yield from self._read(windows.window_around(offset, self.largest, SLACK))
            if any(i.at < self.low or seen(i.digest) for i in above.items):
                self.links.append(Link.of(above, "ties"))
                return above
            if not above.items:
                return None
            offset = above.ask.offset + above.ask.size

    def publish(self, items: Sequence[Item]) -> Generator[Ask | Found, Window, None]:
        """Hand out items newer than everything before, and raise `low` to the newest of them."""
        self._patience = PATIENCE
        self.low = max(self.low, items[0].at)
        newest = windows.newest_not_beyond(items, self.began)
        self.newest = newest if newest is not None else self.newest
        yield self._found(windows.oldest_first(items))

    def _found(self, items: list[Item]) -> Found:
        """Hand out items with the windows used since this was done last."""
        links, self.links = tuple(self.links), []
        return Found(items, self.low, self.newest, links, self.short)


def _alike(one: Sequence[Window], other: Sequence[Window]) -> bool:
    """Whether two passes read the same items at the same positions."""
    return [(w.ask, [i.digest for i in w.items]) for w in one] == [
        (w.ask, [i.digest for i in w.items]) for w in other
    ]


def climb(
    low: Micros,
    began: Micros,
    largest: int,
    total: int,
    until: Micros = BEGINNING,
    *,
    around: int = 0,
    length: Callable[[], int] = int,
) -> Reading[Swept]:
    """Read from the items older than `low` up to the newest, handing them out oldest first.

    Ends when `low` passes `began`, a lower bound of the server's time when the climb began, and
    `until`, or at the top of the list: one that chased the top would never end under load. Whoever
    drives it stores the `low` of each `Found` with its items: from there a new climb goes on. A
    list that cannot be climbed is read from the top to its end.

    Hints, on which nothing rests: `around` is the offset at which a pass like this began before,
    and `length` says how long the list is now; 0 if that is not known.
    """
    state = _Climb(low, began, until, largest, length)
    try:
        yield from _up(state, (yield from locate(low, largest, total, around)))
    except NoLinks:
        first = yield Ask(1, largest)
        return (yield from sweep.to_the_end(first, first, {}))
    links = tuple(state.links)
    return Swept(
        [],
        began,
        state.newest,
        complete=True,
        gap=state.short is not None,
        links=links,
        bottom=state.end,
    )


def deep(
    stop: Micros, largest: int, *, until: Micros = BEGINNING, length: Callable[[], int] = int
) -> Reading[Swept]:
    """Read a list down to `stop`: a few windows from the top, more of them from the old end up.

    `until` is how high a climb goes at least, `length` is a hint: see `climb`.
    """
    swept = yield from sweep.forward(stop, largest, lambda _: False, deep=True)
    if not swept.backlog:
        return swept
    until = max(until, swept.height)
    began = swept.server_time
    return (yield from climb(stop, began, largest, swept.total, until, length=length))


def _up(state: _Climb, offset: int) -> Reading[None]:
    """Climb from window to window. Raises NoLinks."""
    total = 0
    while True:
        # What came while nobody read pushed everything down.
        arrived = max(0, state.length() - total) if total else 0
        state.leave_room(arrived // 4)
        window, newer = yield from state.linked(offset + arrived)
        total = window.total
        fresh = window.items[:newer]
        if fresh and window.ask.offset and fresh[0].at == state.low:
            window = yield from state.past_ties(window, newer)
            fresh = [item for item in window.items if item.at >= state.low]
        if fresh:
            yield from state.publish(fresh)
        if not window.ask.offset or state.low > state.until:
            return
        top = sum(1 for item in window.items if item.at >= state.low)
        offset = window.ask.offset + top
