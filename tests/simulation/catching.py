"""Bugs that the stories must catch, or they prove little: put in on purpose, one at a time."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from simulation.playing import Book, Failure, be_quiet

SEEDS: Final = 500
"""Each bug must show within so many seeds."""

say = partial(print, flush=True)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: the attribute that is replaced, by what (made from the original), and where it shows.

    `also` names further attributes of the same bug.
    """

    target: Any
    attribute: str
    made: Callable[[Any], Any]
    scenarios: tuple[str, ...]
    also: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = ()

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Have the bug for a while."""
        with ExitStack() as stack:
            for target, name, made in ((self.target, self.attribute, self.made), *self.also):
                original = getattr(target, name)
                stack.enter_context(patch.object(target, name, made(original)))
            yield


def caught(book: Book, name: str, mutant: Mutant, seeds: int = SEEDS) -> Failure | None:
    """Return the first story that ends well without a bug and not with it; None if there is none.

    Raises ValueError where the bug does not fit the code any more.
    """
    for seed in range(seeds):
        for scenario in mutant.scenarios:
            with mutant.put_in():
                problems = book.tell(scenario, seed).problems
            _check_bug(name, problems)
            gc.collect()
            if problems and not book.tell(scenario, seed).problems:
                return Failure(book.package, scenario, seed, tuple(problems))
            gc.collect()  # see Book.portion
    return None


def _check_bug(name: str, problems: list[str]) -> None:
    """Raise where a bug shows because it does not fit the code any more: that proves nothing."""
    for mistake in ("AttributeError", "TypeError", "NameError"):
        if any(mistake in problem for problem in problems):
            raise ValueError(f"the bug {name!r} does not fit the code any more: {problems}")


def main(caught_by_name: Callable[[str], Failure | None], mutants: Mapping[str, Mutant]) -> int:
    """Print which story caught each bug; 1 if one escaped."""
    escaped = 0
    with ProcessPoolExecutor(os.cpu_count() or 1, initializer=be_quiet) as pool:
        for name, found in zip(mutants, pool.map(caught_by_name, mutants), strict=True):
            escaped += found is None
            if found is None:
                say(f"{name:<46} ESCAPED {SEEDS} seeds of {', '.join(mutants[name].scenarios)}")
            else:
                problem = found.problems[0].splitlines()[0][:70]
                say(f"{name:<46} {found.scenario:<20} {found.seed:>4}  {problem}")
    say(f"{len(mutants) - escaped} of {len(mutants)} bugs caught")
    return 1 if escaped else 0
