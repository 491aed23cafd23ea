"""Play stories from the command line: `python -m simulation --help`."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from bridge.clock import Clock
from simulation import runner
from simulation.scenarios import SCENARIOS

EVERY = 15.0
"""Seconds between two lines that say how far it is."""

say = partial(print, flush=True)


def main() -> int:
    """Play what was asked for; 1 if anything went wrong."""
    asked = _arguments()
    names = asked.scenario or list(SCENARIOS)
    if asked.trace:
        return _trace(names, asked.seed or 0)
    seed = runner.fresh_seed() if asked.seed is None else asked.seed
    seeds = asked.seeds
    if seeds is None and asked.minutes is None:
        seeds = 1 if asked.seed is not None else 100
    say(f"seeds from {seed} on; scenarios: {', '.join(names)}")
    report = runner.run(names, seed, seeds=seeds, minutes=asked.minutes, progress=_Progress().show)
    say(report.table())
    return 1 if report.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    parser.add_argument("--seed", type=int, help="the first seed; without --seeds the only one")
    parser.add_argument("--seeds", type=int, help="how many seeds of each scenario")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--trace", action="store_true", help="tell the story of --seed")
    return parser.parse_args()


def _trace(names: list[str], seed: int) -> int:
    """Tell one seed's story of each scenario, line by line."""
    runner.be_quiet()
    wrong = False
    for name in names:
        outcome = runner.tell(name, seed, trace=True)
        say(f"{name} {seed}: {SCENARIOS[name].about}")
        say("\n".join(outcome.lines))
        say("\n".join(outcome.problems) or "all is well")
        wrong = wrong or bool(outcome.problems)
    return 1 if wrong else 0


class _Progress:
    """Says now and then how far it is, and at once what went wrong."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._began = self._said = self._clock.monotonic()
        self._told = 0

    def show(self, report: runner.Report) -> None:
        for failure in report.failures[self._told :]:
            say(failure)
        self._told = len(report.failures)
        now = self._clock.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        runs = sum(totals.runs for totals in report.totals.values())
        spent = now - self._began
        say(f"{spent:6.0f} s {runs:9,} runs, {len(report.failures)} went wrong")


if __name__ == "__main__":
    sys.exit(main())
