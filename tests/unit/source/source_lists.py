"""Lists to be swept, without a network: what is asked for is cut out of a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from bridge.clock import Micros
from bridge.source.reading import sweep, windows
from bridge.source.reading.climb import climb as ascend
from bridge.source.reading.windows import Ask, Found, Item, Swept, Window

NOW: Micros = 10**12


def item(number: int, at: Micros | None = None, run_id: str = "run") -> Item:
    """Return an item; `number` is its identity, and its time if none is given."""
    return Item(number if at is None else at, number.to_bytes(16, "big"), run_id, number)


def numbers(items: Sequence[Item]) -> list[int]:
    """Return the identities of items."""
    return [int.from_bytes(one.digest, "big") for one in items]


@dataclass
class Listing:
    """A list, newest first; `between` may change it before each answer."""

    rows: list[Item]
    between: Callable[[Ask], None] = lambda _: None
    server_time: Micros = NOW
    largest: int = 1000
    """The longest page that is given."""
    asked: list[Ask] = field(default_factory=list)

    def answer(self, ask: Ask) -> Window:
        self.between(ask)
        self.asked.append(ask)
        assert len(self.asked) < 5000, "it does not end"
        rows = self.rows[ask.offset : ask.offset + ask.size]
        return Window(ask, rows, self.server_time, len(self.rows))

    def sweep(self, steps: windows.Reading[Swept]) -> tuple[Swept, list[Found]]:
        """Drive a pass; returns its result and what it handed out."""
        found: list[Found] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, Found):
                    found.append(step)
                    step = next(steps)
                else:
                    step = steps.send(self.answer(step))
        except StopIteration as done:
            return done.value, found

    def forward(
        self, stop: Micros, page: int, known: Sequence[int] = (), *, deep: bool = True
    ) -> Swept:
        """Make a forward pass that knows some identities."""
        digests = {number.to_bytes(16, "big") for number in known}
        swept, found = self.sweep(sweep.forward(stop, page, digests.__contains__, deep=deep))
        assert not found
        return swept

    def climb(self, low: Micros, page: int, total: int | None = None) -> tuple[Swept, list[Found]]:
        """Make a climb."""
        hint = len(self.rows) if total is None else total
        return self.sweep(ascend(low, self.server_time, page, hint))


def newest_first(count: int) -> list[Item]:
    """Return items count - 1 to 0."""
    return [item(number) for number in reversed(range(count))]


def arrivals(listing: Listing, share: float, page: int, rng: Random) -> Callable[[Ask], None]:
    """Return what inserts on average `share` of a page before each answer, newer than all."""

    def insert(_: Ask) -> None:
        count = rng.randrange(round(2 * share * page) + 1)
        for _arrival in range(count):
            listing.server_time += 1
            listing.rows.insert(0, item(listing.server_time))

    return insert
