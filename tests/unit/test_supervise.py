"""A side that fails is begun anew while others go on, and ends the process only after a while."""

from __future__ import annotations

import asyncio

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError, GaveUp, StateError
from bridge.health import Health
from bridge.supervise import RESTARTS, SOUND_AFTER, Loop, restarted, supervise


class LeapingClock(Clock):
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        self.time += seconds
        self.slept.append(seconds)
        await super().sleep(0)
        return stop is not None and stop.is_set()


class Side:
    """Fails as often as there are errors, then works until it is stopped."""

    def __init__(self, clock: LeapingClock, *errors: Exception, works: float = 0.0) -> None:
        self._clock = clock
        self._errors = list(errors)
        self._works = works
        self.made = 0
        self.at_work = asyncio.Event()

    def make(self) -> Loop:
        self.made += 1
        return self._run

    async def _run(self, stop: asyncio.Event) -> None:
        self._clock.time += self._works
        if self._errors:
            raise self._errors.pop(0)
        self.at_work.set()
        await stop.wait()


async def test_a_side_that_fails_takes_no_other_with_it() -> None:
    clock, stop = LeapingClock(), asyncio.Event()
    health = Health(clock)
    side = Side(clock, ValueError("a defect"), GaveUp("too many resets"))
    ended: list[str] = []

    async def other(stop: asyncio.Event) -> None:
        await stop.wait()
        ended.append("other")

    run = restarted("side", side.make, clock=clock, health=health)
    running = asyncio.create_task(supervise({"side": run, "other": other}, {}, stop, grace=1))
    await side.at_work.wait()
    assert (side.made, ended, clock.slept) == (3, [], [1.0, 2.0])
    assert "too many resets" in health.reasons["side"]
    stop.set()
    await running
    assert ended == ["other"]


async def test_a_side_that_goes_on_failing_ends_the_process() -> None:
    clock = LeapingClock()
    side = Side(clock, *(GaveUp(str(number)) for number in range(100)))
    run = restarted("side", side.make, clock=clock, health=Health(clock))
    with pytest.raises(GaveUp, match=str(RESTARTS)):
        await run(asyncio.Event())
    assert side.made == RESTARTS + 1
    assert 240 < sum(clock.slept) < 360


async def test_a_failure_after_sound_work_is_the_first_one_again() -> None:
    clock, stop = LeapingClock(), asyncio.Event()
    errors = [GaveUp("now and then")] * (3 * RESTARTS)
    side = Side(clock, *errors, works=SOUND_AFTER)
    running = asyncio.ensure_future(
        restarted("side", side.make, clock=clock, health=Health(clock))(stop)
    )
    await side.at_work.wait()
    assert set(clock.slept) == {1.0}
    stop.set()
    await running


@pytest.mark.parametrize("error", [ConfigError(["wrong"]), StateError("does not fit")])
async def test_what_only_its_operator_can_mend_ends_the_process_at_once(error: Exception) -> None:
    clock = LeapingClock()
    side = Side(clock, error)
    with pytest.raises(type(error)):
        await restarted("side", side.make, clock=clock, health=Health(clock))(asyncio.Event())
    assert (side.made, clock.slept) == (1, [])


async def test_a_failure_while_the_process_ends_is_told() -> None:
    clock, stop = LeapingClock(), asyncio.Event()
    stop.set()
    side = Side(clock, GaveUp("at the end"))
    with pytest.raises(GaveUp):
        await restarted("side", side.make, clock=clock, health=Health(clock))(stop)
    assert side.made == 1
