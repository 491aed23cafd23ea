"""What a steady feed costs, in requests a second: rates of events and lateness windows in a table.

Run by `make cost`. Simulated: the real source on simulated time, with pages of 1,000 events. Above
20 events a second both the rate and the page are made smaller by the same factor, so that pages
hold as many seconds as they would. The API allows 10 requests a second.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from unittest.mock import patch

from simulation import story
from simulation.oracle_cost import Steady
from simulation.playing import quietly
from simulation.scenario import Cost, Scenario
from simulation.scenarios import SCENARIOS

RATES = (1.0, 9.0, 100.0, 1000.0)
WINDOWS = (60.0, 300.0, 900.0)
PAGE = 1000
MOST_RATE = 20.0
STEADY = 600.0


def scenario(rate: float, lateness: float) -> Scenario:
    """Return a story of that many events a second."""
    one = SCENARIOS["steady"]
    factor = max(1.0, rate / MOST_RATE)
    warm = 60.0 + lateness
    return replace(
        one,
        weather=replace(one.weather, rate=rate / factor, past=2.5 * lateness),
        page=round(PAGE / factor),
        lateness=lateness,
        audits=600.0,
        seconds=warm + STEADY,
        settle=2.5 * lateness + 200.0,
        requests=10**6,
        cost=Cost(warm=warm),
        seals=False,
    )


def measured(one: Scenario) -> tuple[Steady, list[str]]:
    """Play the story once; return what it cost, and what was wrong with it otherwise."""
    found: list[Steady] = []

    def kept(_: Scenario, __: Cost, steady: Steady) -> list[str]:
        found.append(steady)
        return []  # the table shows it, and the scenario `steady` judges it

    with quietly(), patch.object(story, "too_dear", kept):
        outcome = story.play(one, 1)
    return found[0], outcome.problems


def main() -> int:
    """Print the table; 1 if a story went wrong."""
    sys.stdout.write(
        "| events/s | window | pages in it | feed requests/s | beyond what is new | "
        "deep passes | run lists/s | nine in ten within |\n|---|---|---|---|---|---|---|---|\n"
    )
    wrong: list[str] = []
    for rate in RATES:
        for lateness in WINDOWS:
            one = scenario(rate, lateness)
            cost, problems = measured(one)
            wrong += [f"{rate} a second, {lateness} s: {problem}" for problem in problems]
            # Twice what is set: a twentieth of the events is late by up to the window.
            pages = 2 * lateness * one.weather.rate / one.page
            sys.stdout.write(
                f"| {rate:,.0f} | {lateness:.0f} s | {pages:,.1f} | {cost.feed / cost.seconds:.2f} "
                f"| {cost.beyond(one):.2f} | {cost.deep} in {cost.seconds:.0f} s "
                f"| {cost.lists / cost.seconds:.2f} | {cost.freshness:.1f} s |\n"
            )
            sys.stdout.flush()
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
