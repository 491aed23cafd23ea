"""Bugs put in on purpose into how the feed is read. Each is made from what it replaces."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from bridge.clock import SECOND, Micros
from bridge.errors import ApiError
from bridge.source.checkpoint.position import Climb
from bridge.source.reading import windows
from bridge.source.reading.reader import FOREVER, ServedOtherwise
from bridge.source.reading.windows import Ask, Found, Item, Swept, Window

Original = Callable[..., Any]


def any_window_follows(_: Original) -> Original:
    def _next_below(
        window: Window, largest: int, back: int
    ) -> windows.Reading[tuple[Window | None, int]]:
        below = yield windows.window_from(window.end, largest)
        return below, back

    return _next_below


def any_window_links(_: Original) -> Original:
    def linked(self: Any, offset: int) -> windows.Reading[tuple[Window, int]]:
        window = yield windows.window_around(offset, self.largest, 0)
        return window, sum(1 for item in window.items if item.at >= self.low)

    return linked


def a_short_page_is_the_end(_: Original) -> Original:
    def is_end(_before: Window) -> windows.Reading[bool]:
        yield from ()
        return True

    return is_end


def one_pass_over_ties(_: Original) -> Original:
    def through_ties(self: Any, window: Window, newer: int) -> windows.Reading[Window]:
        """Take a run of ties for read once its windows are linked by members of it."""
        window, ties, _ = yield from self._pass(window, {})
        yield Found(list(ties.values()), self.low, self.newest)
        return window

    return through_ties


def the_newest_of_all(_: Original) -> Original:
    def newest_not_beyond(items: Sequence[Item], _limit: Micros) -> Micros | None:
        return max((item.at for item in items), default=None)

    return newest_not_beyond


def always(_: Original) -> Original:
    return lambda _self, _now: True


def climbed_again(original: Original) -> Original:
    async def turn(self: Any) -> Any:
        """Climb the lateness window whenever a deep pass is due, and again while there is news."""
        published = self.checkpoint.published
        if self._clock.monotonic() >= self._deep_at and self.checkpoint.position.frontier:
            server_time = self._reader.server_now()
            await self._climb(Climb(self._progress.stop(), server_time, server_time), self._end)
            if self.checkpoint.published == published:
                self._plan_deep(self._clock.monotonic())
        return await original(self)

    return turn


def the_newest_first(_: Original) -> Original:
    def oldest_first(items: Sequence[Item]) -> list[Item]:
        return sorted(items, key=lambda item: -item.at)

    return oldest_first


def ahead_of_its_items(_: Original) -> Original:
    def publish(self: Any, items: Sequence[Item]) -> Iterator[Found]:
        """Hand out a position of the climb that is true only once the climb is over."""
        self.low = max(self.low, items[0].at)
        yield Found(windows.oldest_first(items), max(self.low, self.began), self.newest)

    return publish


def every_pass_is_complete(original: Original) -> Original:
    def forward(*where: Any, deep: bool) -> windows.Reading[Swept]:
        swept: Swept = yield from original(*where, deep=deep)
        return swept if swept.backlog else replace(swept, complete=True)

    return forward


def order_does_not_matter(original: Original) -> Original:
    def to_the_end(*where: Any) -> windows.Reading[Swept]:
        swept: Swept = yield from original(*where)
        return replace(swept, complete=True, is_sorted=True)

    return to_the_end


def each_date_is_believed(original: Original) -> Original:
    def observe(self: Any, date: Micros, sent: float, took: float) -> Micros:
        original(self, date, sent, took)
        return date

    return observe


def without_bound(_: Original) -> Original:
    return lambda _self, _one: FOREVER


def stop_at_the_frontier(_: Original) -> Original:
    def stop(self: Any) -> Any:
        position = self.checkpoint.position
        return max(position.frontier or windows.BEGINNING, position.oldest)

    return stop


def only_the_frontier_counts(_: Original) -> Original:
    def stop(self: Any) -> Any:
        frontier = self.checkpoint.position.frontier
        return windows.BEGINNING if frontier is None else frontier - self.lateness

    return stop


def all_is_within_reach(_: Original) -> Original:
    return lambda *_: None


def the_clock_is_the_frontier(_: Original) -> Original:
    def _ahead(self: Any, _newest: Micros) -> Any:
        return self._reader._clock.now() + round(self._settings.lateness * SECOND)

    return _ahead


def failures_are_empty_pages(original: Original) -> Original:
    async def _read(self: Any, one: Any, ask: Ask) -> Window:
        try:
            window: Window = await original(self, one, ask)
        except ServedOtherwise:
            raise
        except ApiError:
            return Window(ask, (), self._clock.now(), 0)
        return window

    return _read


def sizes_are_as_asked(original: Original) -> Original:
    async def list_events(self: Any, *, page: int, size: int) -> Any:
        return replace(await original(self, page=page, size=size), size=size)

    return list_events


def any_page_will_do(original: Original) -> Original:
    def _page(reply: Any, document: Any, _number: int, items: Any) -> Any:
        return original(reply, document, document["meta"]["page_number"], items)

    return _page


def of_32_bits(original: Original) -> Original:
    return lambda run_id, event_id: original(run_id, event_id)[:4] + bytes(12)


def without_lengths(_: Original) -> Original:
    def digest(run_id: str, event_id: str) -> bytes:
        return hashlib.blake2b((run_id + event_id).encode(), digest_size=16).digest()

    return digest


def of_the_event_alone(original: Original) -> Original:
    return lambda _run_id, event_id: original("", event_id)


def everybody_is_the_api(_: Original) -> Original:
    """Take what anybody on the way says for the API's own word."""
    return lambda _body: True


def gone_for_good(_: Original) -> Original:
    """Believe at once that a run is not there."""
    return lambda summary, _now: replace(summary, stage="closed")
