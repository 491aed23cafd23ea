"""A climb through a long list: everything, oldest first, and it ends."""

from __future__ import annotations

from random import Random

import pytest
from source_lists import NOW, Listing, arrivals, item, newest_first, numbers

from bridge.source.reading.windows import BEGINNING, Ask


@pytest.mark.parametrize("page", [50, 51, 100])
@pytest.mark.parametrize("count", [0, 1, 50, 51, 149, 1000, 2777])
def test_a_climb_hands_out_everything_oldest_first(count: int, page: int) -> None:
    listing = Listing(newest_first(count))
    swept, found = listing.climb(BEGINNING, page)
    handed = [number for one in found for number in numbers(one.items)]
    assert list(dict.fromkeys(handed)) == list(range(count))
    assert swept.complete
    assert swept.newest == (count - 1 if count else None)
    lows = [one.low for one in found]
    assert lows == sorted(lows)


def test_a_climb_begins_at_its_low() -> None:
    listing = Listing(newest_first(5000))
    swept, found = listing.climb(4000, 100)
    assert swept.complete
    assert not swept.gap
    assert {n for one in found for n in numbers(one.items)} == set(range(4000, 5000))
    assert len(listing.asked) < 30


@pytest.mark.parametrize("total", [0, 1, 100, 5000])
def test_a_wrong_total_costs_requests_and_no_events(total: int) -> None:
    listing = Listing(newest_first(2000))
    _, found = listing.climb(500, 100, total)
    assert {n for one in found for n in numbers(one.items)} == set(range(500, 2000))


def test_a_climb_goes_on_from_the_low_of_what_was_committed() -> None:
    listing = Listing(newest_first(2000))
    _, found = listing.climb(BEGINNING, 100)
    committed = {n for one in found[:7] for n in numbers(one.items)}
    _, rest = listing.climb(found[6].low, 100)
    again = {n for one in rest for n in numbers(one.items)}
    assert committed | again == set(range(2000))
    assert len(committed & again) == 1, "only the item at low is handed out again"


def test_a_climb_that_was_past_its_time_when_it_ended_knows_how_far_it_came() -> None:
    """Killed between its last records and its end, it does not start over."""
    listing = Listing(newest_first(300), server_time=250)
    swept, _ = listing.climb(280, 50)
    assert swept.complete
    assert swept.newest == 250


@pytest.mark.parametrize("page", [50, 70, 100])
@pytest.mark.parametrize("seed", range(3))
def test_a_climb_under_thirty_percent_of_the_capacity_ends(page: int, seed: int) -> None:
    """It ends when it passes the time at which it began, however fast the top moves away."""
    listing = Listing([item(number) for number in range(NOW, NOW - 3000, -1)])
    listing.between = arrivals(listing, 0.3, page, Random(seed))
    began = listing.server_time
    swept, found = listing.climb(BEGINNING, page)
    assert swept.complete
    handed = {n for one in found for n in numbers(one.items)}
    assert set(range(NOW - 2999, began + 1)) <= handed
    assert max(handed) <= began + page
    assert len(listing.asked) < 20 * 3000 / page


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("ties", [40, 50, 60, 500])
def test_a_run_of_ties_is_read_whole(ties: int, shuffled: bool) -> None:  # noqa: FBT001
    rng = Random(ties)
    rows = newest_first(1000)
    run = [item(5000 + n, 500) for n in range(ties)]
    listing = Listing(rows[:500] + run + rows[500:])

    def shuffle(_: Ask) -> None:
        tied = [one for one in listing.rows if one.at == 500]
        first = listing.rows.index(tied[0])
        listing.rows[first : first + len(tied)] = rng.sample(tied, len(tied))

    if shuffled:
        listing.between = shuffle
    swept, found = listing.climb(BEGINNING, 50)
    assert swept.complete
    handed = {n for one in found for n in numbers(one.items)}
    assert handed == set(range(1000)) | set(range(5000, 5000 + ties))


def test_a_feed_of_nothing_but_ties_is_read_whole() -> None:
    swept, found = Listing([item(n, 7) for n in range(600)]).climb(BEGINNING, 50)
    assert swept.complete
    assert {n for one in found for n in numbers(one.items)} == set(range(600))


def test_a_climb_at_the_end_that_shows_nothing_older_is_a_gap() -> None:
    rows = newest_first(1000)[:600]
    swept, found = Listing(rows).climb(300, 50)
    assert swept.gap
    assert found[0].short == swept.bottom == 400, "noted with the first items: it may be the last"
    assert not Listing(rows).climb(500, 50)[0].gap
    assert not Listing(rows).climb(BEGINNING, 50)[0].gap


def test_a_climb_over_rows_that_vanish_loses_no_others() -> None:
    rng = Random(3)
    listing = Listing(newest_first(3000))
    kept = {n for n in range(3000) if n % 5}

    def vanish(_: Ask) -> None:
        gone = {n for n in range(0, 3000, 5) if rng.random() < 0.05}
        listing.rows = [one for one in listing.rows if one.at not in gone]

    listing.between = vanish
    swept, found = listing.climb(BEGINNING, 50)
    assert swept.complete
    assert kept <= {n for one in found for n in numbers(one.items)}


def test_a_list_without_order_cannot_be_climbed_and_is_read_to_its_end() -> None:
    rows = newest_first(3000)
    rows.insert(1000, rows.pop(2000))
    swept, found = Listing(rows).climb(BEGINNING, 100)
    read = {n for one in found for n in numbers(one.items)} | set(numbers(swept.items))
    assert read == set(range(3000))
    assert not swept.complete
    assert not swept.is_sorted


@pytest.mark.parametrize("page", [1, 2, 3])
def test_pages_too_small_to_overlap_end_in_a_full_read(page: int) -> None:
    swept, found = Listing(newest_first(300)).climb(100, page)
    read = {n for one in found for n in numbers(one.items)} | set(numbers(swept.items))
    assert set(range(100, 300)) <= read
    if page == 1:
        assert not swept.complete
