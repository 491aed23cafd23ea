"""Stories from the command line, of whichever package."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from bridge.clock import Clock
from simulation.playing import Book, Report, be_quiet

EVERY = 15.0
"""Seconds between two lines that say how far it is."""

say = partial(print, flush=True)


def main(book: Book) -> int:
    """Play what was asked for; 1 if anything went wrong."""
    asked = _arguments(book)
    names = asked.scenario or list(book.scenarios)
    if asked.trace:
        return _trace(book, names, asked.seed or 0)
    seed = book.fresh_seed() if asked.seed is None else asked.seed
    seeds = asked.seeds
    if seeds is None and asked.minutes is None:
        seeds = 1 if asked.seed is not None else 100
    say(f"seeds from {seed} on; scenarios: {', '.join(names)}")
    progress = _Progress()
    report = book.run(names, seed, seeds=seeds, minutes=asked.minutes, progress=progress.show)
    say(report.table())
    say(f"{report.runs:,} stories in {progress.spent:.0f} s")
    return 1 if report.failures else 0


def _arguments(book: Book) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=book.package, description=__doc__)
    parser.add_argument("--scenario", action="append", choices=sorted(book.scenarios))
    parser.add_argument("--seed", type=int, help="the first seed; without --seeds the only one")
    parser.add_argument("--seeds", type=int, help="how many seeds of each scenario")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--trace", action="store_true", help="tell the story of --seed")
    return parser.parse_args()


def _trace(book: Book, names: list[str], seed: int) -> int:
    """Tell one seed's story of each scenario, line by line."""
    be_quiet()
    wrong = False
    for name in names:
        outcome = book.tell(name, seed, trace=True)
        say(f"{name} {seed}: {book.scenarios[name].about}")
        say("\n".join(outcome.lines))
        say("\n".join(outcome.problems) or "all is well")
        wrong = wrong or bool(outcome.problems)
    return 1 if wrong else 0


def told_elsewhere(book: Book, scenario: str, seed: int, *, hash_seed: str) -> str:
    """Let another process tell a story, where sets of strings have another order.

    Raises CalledProcessError for a story that does not end well.
    """
    command = (sys.executable, "-m", book.package, "--trace", "--scenario", scenario)
    done = subprocess.run(
        [*command, "--seed", str(seed)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PYTHONHASHSEED": hash_seed,
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


class _Progress:
    """Says now and then how far it is, and at once what went wrong."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._began = self._said = self._clock.monotonic()
        self._told = 0

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock.monotonic() - self._began

    def show(self, report: Report) -> None:
        for failure in report.failures[self._told :]:
            say(failure)
        self._told = len(report.failures)
        now = self._clock.monotonic()
        if now - self._said < EVERY:
            return
        self._said = now
        say(f"{self.spent:6.0f} s {report.runs:9,} runs, {len(report.failures)} went wrong")
