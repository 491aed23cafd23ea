"""One pass over a list: what it finds, what it proves, and that it ends."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_lists import Listing, arrivals, item, newest_first, numbers

from bridge.source.reading.sweep import FORWARD_WINDOWS
from bridge.source.reading.windows import (
    BEGINNING,
    SLACK,
    Ask,
    Window,
    newest_not_beyond,
    oldest_first,
    window_around,
    window_from,
)

OFFSETS = st.integers(0, 2_000_000)
PAGES = st.integers(50, 1000)


# Windows


@given(OFFSETS, st.integers(1, 1000))
def test_a_window_from_an_offset_contains_it(offset: int, largest: int) -> None:
    ask = window_from(offset, largest)
    assert ask.offset <= offset < ask.offset + ask.size
    assert max(1, largest // 2) <= ask.size <= largest


@given(OFFSETS, st.integers(1, 1000), st.integers(0, 600))
def test_a_window_around_an_offset_contains_it(offset: int, largest: int, below: int) -> None:
    ask = window_around(offset, largest, below)
    assert ask.offset <= offset < ask.offset + ask.size
    assert max(1, largest // 2) <= ask.size <= largest


@given(st.integers(0, 400_000), PAGES)
def test_windows_can_always_be_made_to_overlap(offset: int, largest: int) -> None:
    behind = window_from(offset, largest)
    assert behind.offset + behind.size > offset + SLACK
    around = window_around(offset + largest, largest, SLACK)
    assert offset + largest - around.offset >= SLACK
    assert around.offset + around.size - (offset + largest) > SLACK


# Order


def test_ties_come_in_the_reverse_of_their_order_in_the_feed() -> None:
    listed = [item(1, 7), item(2, 5), item(3, 5), item(4, 5), item(5, 3)]
    assert numbers(oldest_first(listed)) == [5, 4, 3, 2, 1]


def test_a_future_date_says_nothing_about_now() -> None:
    assert newest_not_beyond([item(1, 900), item(2, 50), item(3, 40)], 100) == 50
    assert newest_not_beyond([item(1, 900)], 100) is None


# Forward


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 101, 300])
def test_a_deep_pass_reads_all_down_to_the_stop(count: int) -> None:
    listing = Listing(newest_first(count))
    swept = listing.forward(BEGINNING, 50)
    assert numbers(swept.items) == list(range(count))
    assert swept.complete
    assert not swept.backlog
    assert swept.newest == (count - 1 if count else None)


def test_a_deep_pass_ends_below_the_stop() -> None:
    listing = Listing(newest_first(1000))
    swept = listing.forward(900, 50)
    assert swept.complete
    assert not swept.gap
    assert set(range(900, 1000)) <= set(numbers(swept.items))
    assert len(listing.asked) <= 3


def test_a_stop_is_passed_only_strictly() -> None:
    """An event with the very timestamp of the stop may have a twin on the next page."""
    listing = Listing([item(n, 1000 - n // 10) for n in range(60)])
    swept = listing.forward(996, 50)
    assert {n for n in range(60) if 1000 - n // 10 >= 996} <= set(numbers(swept.items))


def test_a_shallow_pass_takes_one_request_and_proves_nothing() -> None:
    listing = Listing(newest_first(1000))
    swept = listing.forward(10, 50, known=range(960), deep=False)
    assert len(listing.asked) == 1
    assert set(range(960, 1000)) <= set(numbers(swept.items))
    assert not swept.complete


def test_a_shallow_pass_reads_on_while_it_knows_nothing() -> None:
    listing = Listing(newest_first(1000))
    swept = listing.forward(10, 50, known=range(800), deep=False)
    assert set(range(800, 1000)) <= set(numbers(swept.items))


def test_too_many_windows_are_a_backlog() -> None:
    listing = Listing(newest_first(10_000))
    swept = listing.forward(1, 50)
    assert swept.backlog
    assert not swept.complete
    assert len(listing.asked) == FORWARD_WINDOWS + 1


def test_a_first_read_of_a_list_that_says_it_is_long_is_a_backlog_at_once() -> None:
    listing = Listing(newest_first(10_000))
    assert listing.forward(BEGINNING, 50).backlog
    assert len(listing.asked) == 1


def test_a_run_of_ties_longer_than_a_window_is_a_backlog() -> None:
    listing = Listing([item(n, 500) for n in range(200)] + [item(1000 + n, 400) for n in range(20)])
    swept = listing.forward(100, 50)
    assert swept.backlog
    assert not swept.complete


def test_the_end_counts_only_if_the_next_page_is_empty_twice_and_nothing_moved() -> None:
    listing = Listing(newest_first(30))
    assert listing.forward(BEGINNING, 50).complete
    assert [ask.page for ask in listing.asked] == [1, 2, 1, 2]


@pytest.mark.parametrize("came", [0, 1, 2])
def test_a_deletion_does_not_pull_the_end_out_of_sight(came: int) -> None:
    """What moves up, out of the next page before that is read, is found all the same."""
    listing = Listing(newest_first(12))
    whole = listing.answer

    def with_a_hole(ask: Ask) -> Window:
        if ask.page == 2 and len(listing.asked) == 1:
            del listing.rows[3:5]
        if len(listing.asked) == 2:
            listing.rows[:0] = [item(100 + n) for n in reversed(range(came))]
        window = whole(ask)
        return replace(window, items=[one for one in window.items if one.at != 5], total=0)

    listing.answer = with_a_hole  # type: ignore[method-assign]
    swept = listing.forward(BEGINNING, 10)
    handed = set(numbers(swept.items))
    if not swept.complete:
        swept, found = listing.climb(BEGINNING, 10)
        handed = {number for one in found for number in numbers(one.items)}
    assert swept.complete
    assert {0, 1} <= handed


def test_arrivals_do_not_keep_the_end_from_being_proven() -> None:
    listing = Listing(newest_first(30))
    listing.between = lambda ask: listing.rows.insert(0, item(100 + len(listing.asked)))
    assert listing.forward(BEGINNING, 50).complete
    assert len(listing.asked) == 4


def test_a_short_page_is_only_a_page() -> None:
    """A server that filters rows after its LIMIT gives short pages anywhere."""
    listing = Listing(newest_first(120))
    whole = listing.answer

    def with_holes(ask: Ask) -> object:
        window = whole(ask)
        shown = [one for one in window.items if one.at % 3]
        return type(window)(ask, shown, window.server_time, window.total)

    listing.answer = with_holes  # type: ignore[assignment, method-assign]
    swept = listing.forward(BEGINNING, 50)
    assert swept.complete
    assert numbers(swept.items) == [n for n in range(120) if n % 3]


def test_an_empty_page_that_fills_again_is_not_the_end() -> None:
    listing = Listing(newest_first(30))
    older = [item(n, -n) for n in range(1, 41)]

    def appear(ask: Ask) -> None:
        if len(listing.asked) == 2:  # between the two looks at the next page
            listing.rows += older

    listing.between = appear
    swept = listing.forward(BEGINNING, 50)
    assert set(numbers(older)) <= set(numbers(swept.items))


def test_a_gap_is_suspected_where_the_end_does_not_reach_the_stop() -> None:
    rows = newest_first(100)[:30]  # 99 to 70: the feed was cut off below 70
    assert Listing(rows).forward(50, 50).gap
    assert not Listing(rows).forward(80, 50).gap
    assert not Listing(rows).forward(BEGINNING, 50).gap


def test_a_known_item_vouches_for_nothing_below_it() -> None:
    """A future-dated event stays on top of a truncated feed and was seen long ago."""
    rows = [item(10_000), *newest_first(100)[:30]]
    assert Listing(rows).forward(50, 50, known=[10_000, *range(70, 80)]).gap


def test_a_deletion_between_two_reads_hides_nothing() -> None:
    """600 rows vanish after the first window: what the second would skip is read all the same."""
    listing = Listing(newest_first(3000))
    gone = set(range(2300, 2900))

    def vanish(_: Ask) -> None:
        if len(listing.asked) == 1:
            listing.rows = [one for one in listing.rows if one.at not in gone]

    listing.between = vanish
    swept = listing.forward(1800, 500)
    assert swept.complete
    assert set(range(1800, 3000)) - gone <= set(numbers(swept.items))


def test_a_deletion_that_leaves_only_the_tail_is_not_taken_for_a_link_by_the_end() -> None:
    listing = Listing(newest_first(1000))

    def vanish(_: Ask) -> None:
        if len(listing.asked) == 1:
            listing.rows = [one for one in listing.rows if one.at >= 900 or one.at < 390]

    listing.between = vanish
    swept = listing.forward(100, 100)
    assert set(range(100, 390)) <= set(numbers(swept.items))


def test_insertions_between_reads_hide_nothing() -> None:
    listing = Listing(newest_first(300))
    listing.between = arrivals(listing, 0.3, 50, Random(1))
    swept = listing.forward(100, 50)
    assert swept.complete
    assert set(range(100, 300)) <= set(numbers(swept.items))


@pytest.mark.parametrize("turned", ["oldest first", "one late", "shuffled"])
def test_a_list_without_order_is_read_to_its_end(turned: str) -> None:
    rows = newest_first(2000)
    if turned == "oldest first":
        rows.reverse()
    elif turned == "one late":
        rows.insert(30, rows.pop(1500))
    else:
        Random(1).shuffle(rows)
    swept = Listing(rows).forward(1900, 100)
    assert numbers(swept.items) == list(range(2000))
    assert not swept.is_sorted
    assert not swept.complete, "the frontier must not follow a list without order"
