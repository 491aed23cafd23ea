"""Many stories on all cores: what they came to in all, and how to replay those that went wrong."""

from __future__ import annotations

import gc
import logging
import math
import os
import secrets
import subprocess
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count, islice

import structlog
from support import brokers

from bridge.clock import Clock
from simulation.scenarios import SCENARIOS
from simulation.story import Outcome, play

PORTION = 10
"""Stories that a worker plays before it reports."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A story that went wrong."""

    scenario: str
    seed: int
    problems: tuple[str, ...]

    @property
    def replay(self) -> str:
        """The command that tells this story again."""
        return (
            f"PYTHONPATH=tests .venv/bin/python -m simulation "
            f"--scenario {self.scenario} --seed {self.seed} --trace"
        )

    def __str__(self) -> str:
        return f"{self.scenario} {self.seed}: {'; '.join(self.problems)}\n    {self.replay}"


@dataclass(slots=True)
class Totals:
    """Sums over the stories of one scenario."""

    runs: int = 0
    events: int = 0
    requests: int = 0
    commits: int = 0
    crashes: int = 0
    takeovers: int = 0
    late: int = 0
    lost: int = 0
    doubled: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count a story."""
        verdict = outcome.verdict
        self.runs += 1
        self.events += outcome.events
        self.requests += outcome.requests
        self.commits += outcome.commits
        self.crashes += outcome.crashes
        self.takeovers += outcome.takeovers
        self.late += verdict.late
        self.lost += verdict.lost
        self.doubled += verdict.doubled

    def plus(self, other: Totals) -> None:
        """Add the sums of another part."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Report:
    """What all stories came to."""

    totals: dict[str, Totals] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def table(self) -> str:
        """Return the sums, a line for each scenario."""
        columns = list(Totals.__slots__)
        everything = Totals()
        lines = [f"{'scenario':<22}" + "".join(f"{name:>11}" for name in columns)]
        for name, totals in sorted(self.totals.items()):
            everything.plus(totals)
            lines.append(_row(name, totals, columns))
        return "\n".join([*lines, _row("all", everything, columns)])


def _row(name: str, totals: Totals, columns: list[str]) -> str:
    return f"{name:<22}" + "".join(f"{getattr(totals, column):>11,}" for column in columns)


def fresh_seed() -> int:
    """Return where stories begin that were not told before.

    By chance; where CI=true by the hash of the bridge's code, so that other code gets other stories
    and the same code the same ones: a red run can be repeated.
    """
    if brokers.IN_CI:
        asked = ["git", "rev-parse", "HEAD:bridge"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return int(found.stdout[:7], 16)
    return secrets.randbelow(10**9)


def tell(scenario: str, seed: int, *, trace: bool = False) -> Outcome:
    """Play one story; whatever it raises is a problem of its own."""
    try:
        return play(SCENARIOS[scenario], seed, trace=trace)
    except Exception:  # noqa: BLE001 - the seed matters more than the stop
        outcome = Outcome()
        outcome.problems.append(f"the story itself failed:\n{traceback.format_exc()}")
        return outcome


def portion(scenario: str, seed: int, number: int) -> tuple[str, Totals, list[Failure]]:
    """Play some stories in a row: the work of one worker."""
    totals, failures = Totals(), []
    for each in range(seed, seed + number):
        outcome = tell(scenario, each)
        totals.add(outcome)
        if outcome.problems:
            failures.append(Failure(scenario, each, tuple(outcome.problems)))
        gc.collect()  # tasks of a story that is over make those of the next one slow to find
    return scenario, totals, failures


def be_quiet() -> None:
    """Log nothing, and collect garbage only between portions."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    gc.disable()
    gc.collect()
    gc.freeze()


def be_loud() -> None:
    """Take back what `be_quiet` did, but for structlog."""
    logging.disable(logging.NOTSET)
    gc.unfreeze()
    gc.enable()


def portions(names: list[str], seed: int, seeds: int | None) -> Iterator[tuple[str, int, int]]:
    """Yield portions of all scenarios in turn, from `seed` on; without end if `seeds` is None.

    `seeds` counts those of a scenario whose share is 1.
    """
    for begin in count(0, PORTION):
        end = begin + PORTION if seeds is None else min(begin + PORTION, seeds)
        if begin >= end:
            return
        for name in names:
            share = SCENARIOS[name].share if len(names) > 1 else 1.0
            first, last = math.ceil(begin * share), math.ceil(end * share)
            if last > first:
                yield name, seed + first, last - first


def run(
    names: list[str],
    seed: int,
    *,
    seeds: int | None = None,
    minutes: float | None = None,
    most_failures: int = 10,
    progress: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Play `seeds` stories of each scenario, or as many as fit into the time, on all cores."""
    clock = Clock()
    deadline = None if minutes is None else clock.monotonic() + minutes * 60
    report = Report()
    work = portions(names, seed, seeds)
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers, initializer=be_quiet) as pool:
        running = {pool.submit(portion, *each) for each in islice(work, 2 * workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, totals, failures = future.result()
                report.totals.setdefault(name, Totals()).plus(totals)
                report.failures += failures
            progress(report)
            in_time = deadline is None or clock.monotonic() < deadline
            if in_time and len(report.failures) < most_failures:
                running |= {pool.submit(portion, *each) for each in islice(work, len(done))}
    return report
