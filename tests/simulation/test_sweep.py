"""Whatever a feed does while it is read: nothing is lost, and nothing is published twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bridge.clock import SECOND, Micros
from bridge.source import climb, sweep
from bridge.source.checkpoint import Batch, Checkpoint
from bridge.source.sweep import Ask, Found, Swept, Window
from simulation.feed import Reader, Weather, check, story

WEATHERS: dict[str, tuple[Weather, int]] = {
    "calm": (Weather(), 40),
    "ties": (Weather(grid=5), 50),
    "late": (Weather(grid=3, late=0.1), 60),
    "very-late": (Weather(rate=0.5, late=0.2, lateness=120), 10),
    "deletions": (Weather(grid=3, late=0.1, deletion=0.02), 60),
    "busy": (Weather(rate=0.8, burst=0.02, grid=3, late=0.1, deletion=0.06, page=20), 40),
    "future": (Weather(late=0.05, future=0.03, deletion=0.01), 60),
    "short-ties-in-any-order": (Weather(rate=0.15, burst=0, grid=5, late=0.1, shuffle=True), 60),
    "long-ties": (Weather(rate=0.15, burst=0.012, grid=40, late=0.05, lateness=60), 40),
    "long-ties-in-any-order": (
        Weather(rate=0.15, burst=0.012, grid=40, late=0.05, lateness=60, shuffle=True, page=20),
        5,
    ),
    "short-pages": (
        Weather(rate=0.8, burst=0.02, late=0.1, deletion=0.004, holes=True, page=20),
        30,
    ),
    "clock-steps": (Weather(late=0.1, steps=0.003), 80),
    "wrong-dates": (Weather(late=0.1, deletion=0.01, wrong_dates=0.02), 60),
    "larger-pages": (Weather(rate=1.5, burst=0.03, late=0.1, deletion=0.01, page=50), 30),
}
"""Each with the number of seeds that are played."""


def replay(test: str, weather: str, seed: int) -> str:
    """The command that plays one story again."""
    return f"pytest tests/simulation/test_sweep.py -k '{test} and {weather}' --seed {seed}"


@pytest.mark.parametrize("weather", WEATHERS)
def test_everything_is_published_once(weather: str, seed: int | None) -> None:
    what, count = WEATHERS[weather]
    for number in range(count) if seed is None else (seed,):
        try:
            wrong = check(*story(number, what))
        except AssertionError as error:
            wrong = [str(error)]
        assert not wrong, f"{wrong}: {replay('published_once', weather, number)}"


def test_what_falls_off_a_truncated_feed_is_never_lost_in_silence(seed: int | None) -> None:
    weather = Weather(burst=0.01, newest_only=60, past=40)
    lossy = 0
    for number in range(60) if seed is None else (seed,):
        feed, reader = story(number, weather)
        lost = any("lost" in problem for problem in check(feed, reader))
        lossy += lost
        again = replay("truncated", "feed", number)
        assert reader.gaps or not lost, f"lost without a word: {again}"
    assert lossy or seed is not None, "nothing ever fell off: the test says nothing"


# Bugs put in on purpose: each must be caught, or the stories above prove little.


def _any_window_will_do(
    window: Window, largest: int, back: int
) -> sweep.Reading[tuple[Window | None, int]]:
    below = yield sweep.window_from(window.end, largest)
    return below, back


def _a_short_page_is_the_end(_: Ask) -> sweep.Reading[bool]:
    yield from ()
    return True


def _one_pass_will_do(self: Any, window: Window, newer: int) -> sweep.Reading[Window]:
    """Take a run of ties for read once its windows are linked by members of it."""
    window, ties, _ = yield from self._pass(window, {})
    yield Found(list(ties.values()), self.low, self.newest)
    return window


def _the_newest_of_all(items: Any, limit: Micros) -> Micros | None:
    return max((item.at for item in items), default=None)


def _ahead_of_its_items(self: Any, items: Any) -> Iterator[Found]:
    """Store a position of the climb that is true only once the climb is over."""
    self.low = max(self.low, items[0].at)
    yield Found(sweep.oldest_first(items), max(self.low, self.began), self.newest)


def _any_window_links(self: Any, offset: int) -> sweep.Reading[tuple[Window, int]]:
    window = yield sweep.window_around(offset, self.largest, 0)
    return window, sum(1 for item in window.items if item.at >= self.low)


def _a_shallow_pass_is_complete(original: Callable[..., Any]) -> Callable[..., Any]:
    def forward(*where: Any, deep: bool) -> sweep.Reading[Swept]:
        swept: Swept = yield from original(*where, deep=deep)
        return swept if swept.backlog else replace(swept, complete=True)

    return forward


def _expire_early(original: Callable[..., Batch]) -> Callable[..., Batch]:
    def plan(self: Checkpoint, *items: Any, keep: Micros, **options: Any) -> Batch:
        return original(self, *items, keep=keep + 70 * SECOND, **options)

    return plan


def _only_the_frontier_counts(self: Reader) -> Micros:
    frontier = self.checkpoint.position.frontier
    return sweep.BEGINNING if frontier is None else frontier - self.lateness


@dataclass(frozen=True)
class Mutant:
    """A bug: the attribute that is replaced, by what (made from the original), and its weather."""

    target: object
    name: str
    made: Callable[[Any], object]
    weather: str
    seeds: int = 25


MUTANTS = {
    "forward windows are not linked": Mutant(
        sweep, "_next_below", lambda _: _any_window_will_do, "busy"
    ),
    "climbing windows are not linked": Mutant(
        climb._Climb, "linked", lambda _: _any_window_links, "deletions"
    ),
    "a short page is the end": Mutant(
        sweep, "is_end", lambda _: _a_short_page_is_the_end, "short-pages"
    ),
    "a run of ties is linked by membership": Mutant(
        climb._Climb,
        "through_ties",
        lambda _: _one_pass_will_do,
        "long-ties-in-any-order",
        3,
    ),
    "the frontier follows one event": Mutant(
        sweep, "newest_not_beyond", lambda _: _the_newest_of_all, "future"
    ),
    "a shallow pass moves the frontier": Mutant(
        sweep, "forward", _a_shallow_pass_is_complete, "very-late"
    ),
    "a climb's position runs ahead of its items": Mutant(
        climb._Climb, "publish", lambda _: _ahead_of_its_items, "busy"
    ),
    "steps of the clock are not noticed": Mutant(
        Reader, "_stop", lambda _: _only_the_frontier_counts, "clock-steps", 80
    ),
    "digests expire too early": Mutant(Checkpoint, "plan", _expire_early, "late"),
    "the window is narrower than events are late": Mutant(
        Reader, "lateness", lambda _: property(lambda self: 5 * SECOND), "late"
    ),
}


@pytest.mark.parametrize("bug", MUTANTS)
def test_a_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[bug]
    original = getattr(mutant.target, mutant.name)
    monkeypatch.setattr(mutant.target, mutant.name, mutant.made(original))
    weather, _ = WEATHERS[mutant.weather]

    def is_caught(number: int) -> bool:
        try:
            return bool(check(*story(number, weather)))
        except (AssertionError, LookupError):  # it does not end, or trips over its own bug
            return True

    assert any(is_caught(number) for number in range(mutant.seeds))
