"""Drives passes over the lists of the API: asks for windows, checks them, and adapts to the server.

What the server does with page sizes, and in which order it lists, is not documented: it is learned
from its answers. An answer that shows something else than was taken for granted ends the pass with
`Otherwise`; the next one is made as the server wants it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NoReturn, TypeVar

from bridge import telemetry
from bridge.clock import SECOND, Clock, Micros
from bridge.errors import ApiError, ApiRejected
from bridge.missions.client import LARGEST_PAGE
from bridge.missions.models import Page
from bridge.source.reading import climb, rising, windows
from bridge.source.reading.fixed_pages import over_fixed_pages
from bridge.source.reading.server_clock import ServerClock
from bridge.source.reading.windows import BEGINNING, Ask, Found, Item, Swept, Window

T = TypeVar("T")
TakeFound = Callable[[Found], Awaitable[None]]
Between = Callable[[], Awaitable[None]]

SMALLEST: Final = 10
"""Pages are not made smaller than this, however slow or large they are: windows must overlap."""

GROW_AFTER: Final = 20
"""So many quick answers in a row make pages larger again."""

OTHERWISE: Final = 5
"""Times that a list may turn out to be served otherwise before that is an error."""

FOREVER: Final[Micros] = 2**62


class ServedOtherwise(ApiError):
    """The list is served otherwise than this pass took for granted: begin anew, at once."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; the pass begins anew", executed=None)


@dataclass(frozen=True, slots=True)
class ApiList:
    """A paged list: how to ask for a page, and how its rows become items (None: unusable page)."""

    what: str
    fetch: Callable[[int, int], Awaitable[Page[Any]]]
    items: Callable[[Sequence[Any], Ask, Micros], tuple[Item, ...] | None]


@dataclass(slots=True)
class Pass(Generic[T]):
    """A pass while it is made: the request that is next, or its result, and what bounds its proof.

    `as_of` is a lower bound of the server's time when it had the oldest of the windows: what came
    later need not be in them. That is where a cache answers, which may keep each page for itself.
    `strays` are rows without any time on pages without any, below the first: nothing says where
    they belong, so no window has them.
    """

    listing: ApiList
    steps: windows.Reading[T]
    requests: int = 0
    as_of: Micros = FOREVER
    strays: dict[bytes, Item] = field(default_factory=dict)
    result: T | None = None
    is_over: bool = False
    _ask: Ask | None = None
    _window: Window | None = None

    async def next(self, found: TakeFound | None) -> Ask | None:
        """Return the request that is to be made, None when the result is there.

        What to ask for is decided only now: while a pass rests, others learn how the list moves.
        """
        if self._ask is not None or self.is_over:
            return self._ask
        try:
            step = next(self.steps) if self._window is None else self.steps.send(self._window)
            while isinstance(step, Found):
                if found is not None:
                    await found(step)
                step = next(self.steps)
            self._ask = step
        except StopIteration as done:
            self.is_over, self.result = True, done.value
        return self._ask

    def take(self, window: Window) -> None:
        """Take the answer."""
        self._ask, self._window = None, window


class ListReader:
    """Reads one kind of list. `may_go_on` is asked after each request that succeeded."""

    def __init__(
        self,
        *,
        page_size: int,
        timeout: float,
        clock: Clock,
        server: ServerClock,
        may_go_on: Callable[[], bool],
    ) -> None:
        self._asked = page_size
        self._limit = page_size
        self._slow = timeout / 2
        self._clock = clock
        self.server = server
        self._may_go_on = may_go_on
        self._quick = 0
        self._fixed = False
        self._turned = 0
        self._sure = False
        self.largest = page_size
        self.rising = False
        self.total = 0
        """How long the list was when it was looked at last, as the server says: a hint."""

    def begin(self, listing: ApiList, steps: windows.Reading[T]) -> Pass[T]:
        """Begin a pass; several may be under way, each is given up where one raises Otherwise."""
        if self._fixed:
            steps = over_fixed_pages(steps, self.largest)
        return Pass(listing, steps)

    def settled(self, one: Pass[Any]) -> Micros:
        """Return how high the frontier may be after a pass, whatever it read.

        By now more answers have shown the server's clock than when the pass began, and some of its
        windows may be older than it is. The first answers that a process gets may all be from a
        machine whose clock is ahead: a frontier that is too low costs requests, one that is too
        high costs events, so of the server's clock and ours the one that is behind counts.
        """
        return min(self.server_now(), self._clock.now(), one.as_of)

    def server_now(self) -> Micros:
        """Return a lower bound of what the server's clock shows now."""
        bound = self.server.bound(self._clock.monotonic())
        return self._clock.now() if bound is None else bound

    async def step(self, one: Pass[Any], found: TakeFound | None = None) -> bool:
        """Make the next request of a pass, if there is one; False when it was interrupted.

        `found` takes what a climb hands out. Raises Otherwise, and what the API client raises; the
        same request is then still to be made.
        """
        ask = await one.next(found)
        if ask is None:
            self._turned = 0
            return True
        window = await self._read(one, ask)
        if not self._may_go_on():
            return False
        one.take(window)
        return True

    async def drive(
        self,
        one: Pass[T],
        found: TakeFound | None = None,
        between: Between | None = None,
    ) -> T | None:
        """Make a pass to its end and return its result; None when it was interrupted.

        `between` is awaited after each request. Raises what `step` raises.
        """
        while not one.is_over:
            if not await self.step(one, found):
                return None
            if between is not None:
                await between()
        return one.result

    async def whole(
        self,
        listing: ApiList,
        found: TakeFound,
        stop: Micros = BEGINNING,
        between: Between | None = None,
    ) -> Swept | None:
        """Read a list down to `stop`, long ones in parts; None when it was interrupted.

        `found` may get an item more than once.
        """
        for _ in range(OTHERWISE):
            try:
                return await self._whole(listing, found, stop, between)
            except ServedOtherwise as error:
                telemetry.list_served_otherwise(listing.what, str(error))
        return await self._whole(listing, found, stop, between)

    async def _whole(
        self, listing: ApiList, found: TakeFound, stop: Micros, between: Between | None
    ) -> Swept | None:
        if self.rising:
            steps = rising.rise(stop, FOREVER, self.largest, 0)
        else:
            steps = climb.deep(stop, self.largest, until=FOREVER)
        one = self.begin(listing, steps)
        swept = await self.drive(one, found, between)
        if swept is not None:
            await found(Found([*swept.items, *one.strays.values()], stop, None))
        return swept

    async def _read(self, one: Pass[Any], ask: Ask) -> Window:
        """Request one window."""
        listing = one.listing
        try:
            page = await self._fetch(one, ask.page, ask.size)
        except ApiError as error:
            if error.too_much:
                self._shrink()
            raise
        except ApiRejected as error:
            self._forget(error)
            raise
        await self._look_at_size(one, ask, page)
        self._look_at_speed(page)
        date = self._clock.now() if page.date is None else page.date
        server_time = self.server.observe(date, page.sent, page.took)
        if page.age:
            # A cache kept it for so long: it shows what was there then.
            telemetry.stale_page(page.age)
            server_time -= page.age * SECOND
        one.as_of = min(one.as_of, server_time)
        items = listing.items(page.items, ask, server_time)
        if items is None:
            raise ApiError(
                f"none of the {len(page.items)} rows on page {ask.page} of {listing.what} has a "
                "timestamp that can be read: has the API changed? Nothing is skipped; it will be "
                "asked again",
                executed=None,
            )
        if ask.offset and not any(item.is_dated for item in items):
            one.strays.update((item.digest, item) for item in items)
            items = ()
        self.total = page.total_results or 0
        await self._look_at_order(one, ask, items, self.total)
        return Window(ask, items, server_time, self.total)

    async def _fetch(self, one: Pass[Any], page: int, size: int) -> Page[Any]:
        """Request a page, never with a larger size than was set, whatever the server's own is."""
        one.requests += 1
        return await one.listing.fetch(page, min(size, self._asked))

    async def _look_at_size(self, one: Pass[Any], ask: Ask, page: Page[Any]) -> None:
        """Take note of the size of the server's pages, as far as its rows bear it out.

        A size that is just the number of rows may be that of the last page: it counts if more
        rows follow.
        """
        rows, said = len(page.items), page.size
        if rows > ask.size:
            self._fixed = True
            size = rows if said is None or said > LARGEST_PAGE else said
            self._learn(size, f"pages of {size}, whatever size it is asked for")
        elif said is not None and 0 < rows <= said < ask.size:
            goes_on = rows < said or (page.total_results or 0) > ask.offset + rows
            if goes_on or (await self._fetch(one, ask.page + 1, ask.size)).items:
                self._learn(said, f"pages of {said} instead of {ask.size}")

    def _learn(self, size: int, how: str) -> NoReturn:
        self._limit = self.largest = size
        raise ServedOtherwise(f"the API answers with {how}")

    def _forget(self, error: ApiRejected) -> None:
        """Go back to what was set where the API refuses a request made by what was learned."""
        learned = self._fixed or self.rising or self._limit != self._asked
        if learned and error.status in (400, 422):
            self._limit = self.largest = self._asked
            self._fixed = self._sure = self.rising = False
            self._quick = 0
            raise ServedOtherwise(f"the API refuses what it took before ({error})") from error

    def _look_at_speed(self, page: Page[Any]) -> None:
        if page.took > self._slow:
            self._shrink()
        elif page.took > self._slow / 5 or self.largest == self._limit:
            self._quick = 0
        else:
            self._quick += 1
            if self._quick >= GROW_AFTER:
                self._quick = 0
                self.largest = min(self._limit, 2 * self.largest)

    def _shrink(self) -> None:
        self._quick = 0
        if not self._fixed and self.largest > SMALLEST:
            self.largest = max(SMALLEST, self.largest // 2)

    async def _look_at_order(
        self, one: Pass[Any], ask: Ask, items: Sequence[Item], total: int
    ) -> None:
        """Turn round when the list is sorted the other way; one that does both is not sorted.

        A first page of few timestamps does not say: then the last one is looked at.
        """
        if len({item.at for item in items}) >= rising.ENOUGH:
            self._sure = True
            upwards = items if not self.rising else items[::-1]
            if self._turned < 3 and rising.is_rising(upwards):
                self._turn(rising=not self.rising)
        elif not self._sure and items and not ask.offset and total > len(items):
            last = Ask(-(-total // ask.size), ask.size)
            page = await self._fetch(one, last.page, last.size)
            others = one.listing.items(page.items, last, items[0].at) or items
            newer = min(item.at for item in others) > max(item.at for item in items)
            older = max(item.at for item in others) < min(item.at for item in items)
            self._sure = newer or older
            if self._sure and newer is not self.rising:
                self._turn(rising=newer)

    def _turn(self, *, rising: bool) -> None:
        self._turned += 1
        self.rising = rising
        raise ServedOtherwise(f"the list shows the {'oldest' if rising else 'newest'} event first")
