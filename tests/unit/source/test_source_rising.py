"""Lists that show the oldest event first, and servers that give pages of one size only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import pytest
from source_bench import Bench, Crash
from source_lists import NOW, item, numbers

from bridge.clock import Micros
from bridge.source.reading import climb, rising, sweep
from bridge.source.reading.fixed_pages import over_fixed_pages
from bridge.source.reading.windows import BEGINNING, Ask, Found, Item, Reading, Swept, Window


@dataclass
class Rising:
    """A list, oldest first; `between` may change it before each answer."""

    rows: list[Item]
    between: Callable[[Ask], None] = lambda _: None
    asked: list[Ask] = field(default_factory=list)

    def play(self, steps: Reading[Swept]) -> tuple[Swept, list[int]]:
        """Drive a pass; returns its result and the identities that it handed out, in order."""
        found: list[Item] = []
        try:
            step = next(steps)
            while True:
                if isinstance(step, Found):
                    found += step.items
                    step = next(steps)
                    continue
                self.between(step)
                self.asked.append(step)
                assert len(self.asked) < 2000, "it does not end"
                rows = self.rows[step.offset : step.offset + step.size]
                step = steps.send(Window(step, rows, NOW, len(self.rows)))
        except StopIteration as done:
            return done.value, numbers(found)

    def rise(self, low: Micros, page: int = 50) -> tuple[Swept, list[int]]:
        return self.play(rising.rise(low, NOW, page, len(self.rows)))

    def top(self, stop: Micros, known: range, total: int, page: int = 50) -> Swept:
        digests = {number.to_bytes(16, "big") for number in known}
        return self.play(rising.top(stop, page, digests.__contains__, total))[0]


def oldest_first(count: int) -> list[Item]:
    return [item(number) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 333])
def test_all_of_a_list_is_read_in_time(count: int) -> None:
    swept, found = Rising(oldest_first(count)).rise(BEGINNING)
    assert list(dict.fromkeys(found)) == list(range(count))
    assert swept.complete
    assert not swept.gap


def test_a_pass_begins_at_what_it_needs() -> None:
    listing = Rising(oldest_first(5000))
    swept, found = listing.rise(4900)
    assert set(found) == set(range(4900, 5000))
    assert swept.complete
    assert len(listing.asked) < 15


def test_a_list_without_anything_older_is_a_gap() -> None:
    listing = Rising(oldest_first(60)[30:])
    swept, found = listing.rise(10)
    assert swept.gap
    assert swept.bottom == 30
    assert set(found) == set(range(30, 60))
    assert not Rising(oldest_first(60)).rise(10)[0].gap


@pytest.mark.parametrize("count", [50, 51, 240])
def test_a_run_of_ties_longer_than_a_page_is_read_whole(count: int) -> None:
    rows = [item(n, min(n, 20) if n < 20 + count else n) for n in range(60 + count)]
    swept, found = Rising(rows).rise(10)
    assert set(found) == set(range(10, 60 + count))
    assert swept.complete


def test_ties_in_another_order_each_time_are_read_whole() -> None:
    rng = Random(5)
    listing = Rising([item(n, 20 if 20 <= n < 220 else n) for n in range(300)])

    def shuffle(_: Ask) -> None:
        ties = [one for one in listing.rows if one.at == 20]
        rng.shuffle(ties)
        listing.rows[20:220] = ties

    listing.between = shuffle
    _, found = listing.rise(10)
    assert set(found) == set(range(10, 300))


@pytest.mark.parametrize("seed", range(30))
def test_what_is_not_deleted_is_read_while_the_list_moves(seed: int) -> None:
    rng = Random(seed)
    listing = Rising(oldest_first(600))
    there = {int.from_bytes(one.digest, "big") for one in listing.rows}
    number = 600

    def move(_: Ask) -> None:
        nonlocal number
        if rng.random() < 0.3:
            gone = rng.randrange(6)
            kept = [one for one in listing.rows if int.from_bytes(one.digest, "big") % 6 != gone]
            there.intersection_update(int.from_bytes(one.digest, "big") for one in kept)
            listing.rows = kept if len(kept) > 100 else listing.rows
        for _arrival in range(rng.randrange(4)):
            listing.rows.append(item(number))
            number += 1

    listing.between = move
    swept, found = listing.rise(100)
    if swept.complete:
        left = {int.from_bytes(one.digest, "big") for one in listing.rows} & set(range(100, 600))
        assert left <= set(found)


def test_an_unsorted_list_is_read_whole_and_proves_nothing() -> None:
    rows = oldest_first(200)
    rows[100], rows[101] = rows[101], rows[100]
    swept, _ = Rising(rows).rise(10)
    assert not swept.complete
    assert not swept.is_sorted
    assert set(numbers(swept.items)) == set(range(200))


def test_the_end_takes_one_request_while_little_is_new() -> None:
    listing = Rising(oldest_first(500))
    swept = listing.top(400, range(490), 490)
    assert len(listing.asked) == 1
    assert set(range(490, 500)) <= set(numbers(swept.items))
    assert (swept.total, swept.complete, swept.backlog) == (500, False, False)


def test_an_end_without_anything_known_is_a_backlog() -> None:
    assert Rising(oldest_first(500)).top(100, range(50), 400).backlog
    assert Rising(oldest_first(2000)).top(0, range(100), 100).backlog, "too many windows"


# The real poller on such a list


async def test_a_poll_of_such_a_feed_is_one_request() -> None:
    bench = Bench(events=2500, past=600, behaviour={"order": "oldest"}, audit_interval=1e6)
    await bench.catch_up()
    bench.assert_exact()
    bench.api.asked.clear()
    for _ in range(5):
        bench.api.insert(2)
        bench.clock.pass_by(2)
        await bench.catch_up()
    assert len(bench.api.feed_requests()) == 5
    bench.assert_exact()


async def test_such_a_feed_is_read_exactly_and_forgets_what_it_may() -> None:
    behaviour = {"order": "oldest", "late_probability": 0.2, "late_seconds": 80, "rate": 0.2}
    bench = Bench(events=1500, past=3000, behaviour=behaviour, lateness=100, lateness_max=500)
    for _ in range(60):
        await bench.later(25)
        if _ % 7 == 0:
            bench.start()
    bench.api.simulator.control("behaviour", {"rate": 0})
    await bench.later(100)
    bench.assert_exact()
    assert bench.poller.checkpoint.position.kept_from is not None


async def test_a_climb_of_such_a_feed_goes_on_after_a_crash() -> None:
    bench = Bench(events=2500, behaviour={"order": "oldest"})
    bench.api.seconds = 0.4
    lives = 0
    while bench.poller.checkpoint.position.frontier is None:
        bench.start()
        bench.topics.crash(3, "after")
        lives += 1
        assert lives < 40, "it does not get anywhere"
        with suppress(Crash):
            await bench.catch_up()
    bench.start()
    await bench.later()
    bench.assert_exact()


@pytest.mark.parametrize("count", [0, 20, 2500])
async def test_latest_of_such_a_feed_is_its_end(count: int) -> None:
    bench = Bench(events=count, past=3000, behaviour={"order": "oldest"}, start="latest")
    await bench.catch_up()
    new = bench.api.insert(4)
    await bench.later(5)
    assert {e["event_id"] for e in bench.topics.events()} == {e["event_id"] for e in new}


# Pages of one size


def fixed(listing: list[Item], size: int, between: Callable[[], None]) -> Callable[[Ask], Window]:
    def answer(ask: Ask) -> Window:
        assert ask.size == size, "another size than the server's own is never asked for"
        between()
        rows = listing[ask.offset : ask.offset + size]
        return Window(ask, rows, NOW, len(listing))

    return answer


def play(steps: Reading[Swept], answer: Callable[[Ask], Window]) -> tuple[Swept, list[int]]:
    found: list[Item] = []
    try:
        step = next(steps)
        for _ in range(5000):
            if isinstance(step, Found):
                found += step.items
                step = next(steps)
            else:
                step = steps.send(answer(step))
    except StopIteration as done:
        return done.value, numbers(found)
    raise AssertionError("it does not end")


@pytest.mark.parametrize("seed", range(20))
def test_fixed_pages_link_like_free_ones(seed: int) -> None:
    rng = Random(seed)
    listing = [item(number) for number in reversed(range(300))]
    number, there = 300, set(range(300))

    def between() -> None:
        nonlocal number
        if rng.random() < 0.2:
            listing.insert(0, item(number))
            number += 1
        if rng.random() < 0.05:
            gone = rng.randrange(8)
            there.difference_update(n for n in range(300) if n % 8 == gone)
            listing[:] = [one for one in listing if int.from_bytes(one.digest, "big") % 8 != gone]

    steps = over_fixed_pages(sweep.forward(150, 40, lambda _: False, deep=True), 40)
    swept, _ = play(steps, fixed(listing, 40, between))
    if swept.complete:
        assert {n for n in there if n >= 150} <= set(numbers(swept.items))
    steps = over_fixed_pages(climb.climb(BEGINNING, NOW, 40, len(listing)), 40)
    swept, found = play(steps, fixed(listing, 40, between))
    assert swept.complete
    assert there <= set(found)
