"""What `Date` headers prove about the server's time, and what they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import SECOND, Micros
from bridge.source.reading.server_clock import ServerClock

BEGAN: Micros = 1_773_057_600 * SECOND
W = 900.0


def date(seconds: float) -> Micros:
    """A Date header, so many seconds after the beginning: whole seconds only."""
    return (BEGAN + round(seconds * SECOND)) // SECOND * SECOND


def test_the_bound_is_the_date_less_the_time_of_the_request() -> None:
    clock = ServerClock(8 * W)
    assert clock.observe(date(0), 100.0, 0.25) == BEGAN - 250_000
    assert clock.step == 0


@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.floats(0, 30), st.floats(0, 1)), min_size=1, max_size=30
    )
)
def test_an_honest_server_is_never_overtaken(requests: list[tuple[float, float, float]]) -> None:
    """The bound holds when the request is sent, wherever within the answer Date was written."""
    clock, mono = ServerClock(8 * W), 50.0
    for pause, took, share in requests:
        mono += pause
        bound = clock.observe(date(mono + took * share), mono, took)
        assert bound <= BEGAN + round(mono * SECOND)
        assert clock.step == 0, "slow answers are no steps"
        mono += took


def test_a_slow_answer_does_not_hold_back_the_quick_ones_after_it() -> None:
    clock = ServerClock(8 * W)
    clock.observe(date(0), 0.0, 0.1)
    clock.observe(date(30), 1.0, 29.0)
    bound = clock.observe(date(60), 60.0, 0.1)
    assert bound >= BEGAN + 58 * SECOND
    assert clock.step == 0


def test_a_clock_that_is_set_back_is_believed_and_remembered_as_a_step() -> None:
    clock = ServerClock(8 * W)
    clock.observe(date(0), 0.0, 0.1)
    bound = clock.observe(date(10 - 5 * W), 10.0, 0.1)
    assert bound <= date(10 - 5 * W)
    assert clock.step == pytest.approx(5 * W * SECOND, abs=2 * SECOND)


def test_a_clock_that_is_set_forth_is_not_believed_while_the_step_is_remembered() -> None:
    clock = ServerClock(8 * W)
    clock.observe(date(0), 0.0, 0.1)
    assert clock.observe(date(10 + W), 10.0, 0.1) <= date(10)
    assert clock.step == pytest.approx(W * SECOND, abs=2 * SECOND)
    later = 9 * W
    assert clock.observe(date(later + W), later, 0.1) == date(later + W) - 100_000
    assert clock.step == 0


def test_one_answer_from_a_machine_that_is_ahead_moves_nothing() -> None:
    clock = ServerClock(8 * W)
    for second in range(0, 200, 2):
        ahead = 3 * W if second == 100 else 0
        bound = clock.observe(date(second + ahead), float(second), 0.1)
        assert date(second) - 2 * SECOND <= bound <= date(second)
    assert clock.step == pytest.approx(3 * W * SECOND, abs=2 * SECOND)


def test_a_clock_that_is_always_ahead_shows_no_step() -> None:
    clock = ServerClock(8 * W)
    for second in range(0, 100, 2):
        clock.observe(date(second + 1.25 * W), float(second), 0.1)
    assert clock.step == 0


def test_a_second_here_or_there_is_no_step() -> None:
    clock = ServerClock(8 * W)
    for second in range(100):
        clock.observe(date(second) + second % 3 * SECOND, float(second), 0.1)
    assert clock.step == 0


def test_what_is_remembered_is_bounded() -> None:
    clock = ServerClock(8 * W)
    for second in range(0, 200_000, 7):
        clock.observe(date(second), float(second), 0.1)
    assert len(clock._buckets) <= 8 * W / 10 + 2
