"""Many stories on all cores: what they came to in all, and how to replay those that went wrong."""

from __future__ import annotations

import gc
import logging
import math
import os
import secrets
import subprocess
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Protocol

import structlog
from support import brokers

from bridge.clock import Clock
from simulation.remembered import forget_all, remember_all

PORTION = 10
"""Stories that a worker plays before it reports."""


class Scenario(Protocol):
    """What one kind of story is about."""

    @property
    def about(self) -> str:
        """A sentence."""

    @property
    def share(self) -> float:
        """Stories of this kind for each one of another."""


@dataclass
class Outcome:
    """What became of a story; `figures` are summed up over stories."""

    problems: list[str] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failure:
    """A story that went wrong; `package` tells it."""

    package: str
    scenario: str
    seed: int
    problems: tuple[str, ...]

    @property
    def replay(self) -> str:
        """The command that tells this story again."""
        return (
            f"PYTHONPATH=tests .venv/bin/python -m {self.package} "
            f"--scenario {self.scenario} --seed {self.seed} --trace"
        )

    def __str__(self) -> str:
        return f"{self.scenario} {self.seed}: {'; '.join(self.problems)}\n    {self.replay}"


@dataclass
class Report:
    """What all stories came to: sums by scenario, `runs` among them."""

    totals: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def runs(self) -> int:
        """Stories played."""
        return sum(figures["runs"] for figures in self.totals.values())

    def table(self) -> str:
        """Return the sums, a line for each scenario."""
        everything = Counter[str]()
        for figures in self.totals.values():
            everything.update(figures)
        columns = list(everything)
        rows = [*sorted(self.totals.items()), ("all", everything)]
        heads = f"{'scenario':<22}" + "".join(f"{name:>11}" for name in columns)
        return "\n".join([heads, *(_row(name, figures, columns) for name, figures in rows)])


def _row(name: str, figures: Counter[str], columns: list[str]) -> str:
    return f"{name:<22}" + "".join(f"{figures[column]:>11,}" for column in columns)


@dataclass(frozen=True)
class Book:
    """All stories of a package; `code` is the folder they are about, `play` tells one of them."""

    package: str
    code: str
    scenarios: Mapping[str, Scenario]
    play: Callable[..., Outcome]

    def fresh_seed(self) -> int:
        """Return where stories begin that were not told before.

        By chance; where CI=true by the hash of the code that they are about, so that other code
        gets other stories and the same code the same ones: a red run can be repeated.
        """
        if brokers.IN_CI:
            asked = ["git", "rev-parse", f"HEAD:{self.code}"]
            found = subprocess.run(asked, capture_output=True, text=True, check=False)
            if found.returncode == 0:
                return int(found.stdout[:7], 16)
        return secrets.randbelow(10**9)

    def tell(self, scenario: str, seed: int, *, trace: bool = False) -> Outcome:
        """Play one story; whatever it raises is a problem of its own."""
        try:
            return self.play(self.scenarios[scenario], seed, trace=trace)
        except Exception:  # noqa: BLE001 - the seed matters more than the stop
            return Outcome([f"the story itself failed:\n{traceback.format_exc()}"])

    def portion(
        self, scenario: str, seed: int, number: int
    ) -> tuple[str, Counter[str], list[Failure]]:
        """Play some stories in a row: the work of one worker."""
        totals, failures = Counter[str](), []
        for each in range(seed, seed + number):
            outcome = self.tell(scenario, each)
            totals.update({"runs": 1} | outcome.figures)
            if outcome.problems:
                found = tuple(outcome.problems)
                failures.append(Failure(self.package, scenario, each, found))
            gc.collect()  # tasks of a story that is over make those of the next one slow to find
        return scenario, totals, failures

    def portions(
        self, names: list[str], seed: int, seeds: int | None
    ) -> Iterator[tuple[str, int, int]]:
        """Yield portions of all scenarios in turn, from `seed` on; without end if `seeds` is None.

        `seeds` counts those of a scenario whose share is 1.
        """
        for begin in count(0, PORTION):
            end = begin + PORTION if seeds is None else min(begin + PORTION, seeds)
            if begin >= end:
                return
            for name in names:
                share = self.scenarios[name].share if len(names) > 1 else 1.0
                first, last = math.ceil(begin * share), math.ceil(end * share)
                if last > first:
                    yield name, seed + first, last - first

    def run(
        self,
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
        work = self.portions(names, seed, seeds)
        workers = os.cpu_count() or 1
        with ProcessPoolExecutor(workers, initializer=be_quiet) as pool:
            running = {pool.submit(self.portion, *each) for each in islice(work, 2 * workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    name, totals, failures = future.result()
                    report.totals.setdefault(name, Counter()).update(totals)
                    report.failures += failures
                progress(report)
                in_time = deadline is None or clock.monotonic() < deadline
                if in_time and len(report.failures) < most_failures:
                    running |= {
                        pool.submit(self.portion, *each) for each in islice(work, len(done))
                    }
        return report


def be_quiet() -> None:
    """Log nothing, collect garbage only between stories, compute nothing pure twice."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    remember_all()
    gc.disable()
    gc.collect()
    gc.freeze()


@contextmanager
def quietly() -> Iterator[None]:
    """Be quiet for a while; others have everything back afterwards."""
    before = structlog.get_config()
    be_quiet()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
        forget_all()
        logging.disable(logging.NOTSET)
        structlog.configure(**before)
