from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from missions_fakes import FakeClock

from bridge.clock import SECOND, Clock
from bridge.missions.pacing import (
    LONGEST_WAIT,
    SHORTEST_WAIT,
    RateBudget,
    Turns,
    asked_wait,
    parse_http_date,
    parse_retry_after,
    window_wait,
)

# Wed, 21 Oct 2015 07:28:00 GMT
NOW = 1_445_412_480 * SECOND


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("0", SHORTEST_WAIT),
        ("-5", SHORTEST_WAIT),
        ("1000000000", LONGEST_WAIT),
        ("1e9", LONGEST_WAIT),
        ("inf", LONGEST_WAIT),
        ("nan", None),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:09 GMT", 9.0),
        ("Wed, 21 Oct 2015 07:28:09 -0000", 9.0),
        ("Wed, 21 Oct 2015 09:28:09 +0200", 9.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", SHORTEST_WAIT),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT),
        ("Wed, 99 Oct 2015 07:28:09 GMT", None),
    ],
)
def test_retry_after_in_every_form_is_a_sane_wait(value: str, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_breaks_the_client_or_asks_for_more_than_the_cap(value: str) -> None:
    seconds = parse_retry_after(value, NOW)

    assert seconds is None or SHORTEST_WAIT <= seconds <= LONGEST_WAIT


def test_an_http_date_is_microseconds_utc() -> None:
    assert parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT") == NOW
    assert parse_http_date("yesterday") is None


def test_the_reset_of_the_window_stands_in_for_retry_after() -> None:
    assert asked_wait({"retry-after": "3", "x-ratelimit-reset": "9"}, NOW) == 3
    assert asked_wait({"x-ratelimit-reset": "9"}, NOW) == 9
    assert asked_wait({"retry-after": "?", "x-ratelimit-reset": "1e12"}, NOW) == LONGEST_WAIT
    assert asked_wait({}, NOW) is None


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "wait"),
    [
        ("100", "50", "10", 0.0),
        ("100", "11", "10", 0.0),
        ("100", "9", "10", 1.0),
        ("100", "0", "10", 10.0),
        ("100", "-3", "10", 10.0),
        ("10", "1", "1", 0.5),
        (None, "4", "10", 2.0),
        (None, "6", "10", 0.0),
        ("100", "0", "1e9", LONGEST_WAIT),
        ("100", "0", "-1", 0.0),
        ("100", "many", "10", 0.0),
        ("100", "0", "nan", 0.0),
    ],
)
def test_what_is_left_of_a_window_is_spread_over_its_time(
    limit: str | None, remaining: str, reset: str, wait: float
) -> None:
    headers = {"x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    if limit is not None:
        headers["x-ratelimit-limit"] = limit

    assert window_wait(headers) == wait


async def test_a_429_stops_every_caller_until_its_time_has_come() -> None:
    clock = FakeClock()
    budget = RateBudget(10_000, clock)
    budget.observe(429, {"retry-after": "20"})

    await asyncio.gather(*(budget.acquire() for _ in range(5)))

    assert clock.time >= 1_020
    assert clock.slept[0] == 20


async def test_a_429_stops_those_who_already_wait_for_their_turn() -> None:
    clock = FakeClock()
    budget = RateBudget(50, clock)
    await budget.acquire()
    waiting = asyncio.ensure_future(budget.acquire())
    await Clock().sleep(0)
    budget.observe(429, {"retry-after": "20"})

    await waiting

    assert clock.slept == [20]


async def test_429s_that_name_no_time_wait_twice_as_long_each_time() -> None:
    clock = FakeClock()
    budget = RateBudget(10_000, clock)
    for _ in range(12):
        budget.observe(429, {})
        await budget.acquire()
    assert clock.slept == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]

    budget.observe(200, {})
    budget.observe(429, {})
    await budget.acquire()
    assert clock.slept[-1] == 1


async def test_a_shorter_pause_does_not_undo_a_longer_one() -> None:
    clock = FakeClock()
    budget = RateBudget(10_000, clock)
    budget.observe(429, {"retry-after": "30"})
    budget.observe(429, {"retry-after": "2"})

    await budget.acquire()

    assert clock.slept == [30]


async def test_a_503_waits_only_if_it_says_so() -> None:
    clock = FakeClock()
    budget = RateBudget(10_000, clock)
    budget.observe(503, {})
    await budget.acquire()
    assert clock.slept == []

    budget.observe(503, {"retry-after": "5"})
    await budget.acquire()
    assert clock.slept == [5]


async def test_a_window_nearly_used_up_slows_the_next_request() -> None:
    clock = FakeClock()
    budget = RateBudget(10_000, clock)
    headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "4"}
    budget.observe(200, headers)

    await budget.acquire()

    assert clock.slept == [4]


async def test_requests_leave_evenly_and_not_in_bursts() -> None:
    budget = RateBudget(100, FakeClock())
    loop = asyncio.get_running_loop()
    began = loop.time()

    await asyncio.gather(*(budget.acquire() for _ in range(6)))

    assert loop.time() - began >= 0.045


async def test_whoever_waits_beside_a_crowd_has_every_second_turn() -> None:
    budget = RateBudget(1000, Clock())
    crowd, other = Turns(budget), Turns(budget).for_another()
    order: list[str] = []

    async def ask(turns: Turns, who: str) -> None:
        await turns.acquire()
        order.append(who)

    many = [asyncio.create_task(ask(crowd, "crowd")) for _ in range(50)]
    await Clock().sleep(0)
    for _ in range(5):
        await ask(other, "other")
    places = [place for place, who in enumerate(order) if who == "other"]
    assert len(places) == 5
    assert places[-1] <= 12, "each of its requests waited for one of the crowd's, or two"
    await asyncio.gather(*many)
