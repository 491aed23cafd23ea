"""Whatever users, the API, Kafka and processes do: one final result, and one effect at most."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from simulation.playing import quietly
from simulation.telling import told_elsewhere

from command_simulation import mutants
from command_simulation.runner import BOOK
from command_simulation.scenarios import SCENARIOS

CORPUS = 15
"""Seeds of each scenario that are played every time."""

FRESH_SECONDS = 20.0
"""So long seeds are played that nobody has played before."""

CHEAP_BUGS = (
    "the ledger is read to its end offset",
    "the ledger is read uncommitted",
    "only the low-water mark is kept",
    "commands are forgotten by the wall clock",
    "the result precedes the ledger",
    "the ledger precedes the result",
    "the position precedes what it speaks of",
    "the call does not wait for the intent",
    "outcomes are lost with their producer",
    "only brakes on everything hold",
    "a repeated EndTxn is not noticed",
    "each owner has a transactional id of its own",
    "the first look is believed",
    "what was so before is taken for the effect",
    "a start is repeated under strict",
    "silence means that nothing was done",
    "a 5xx is taken for a refusal",
    "another body is not noticed",
    "each record has a lane of its own",
)
"""Bugs that show soon; `make mutants-commands` has all."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing; the other tests have their logging back afterwards."""
    with quietly():
        yield


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_story_that_was_told_before_ends_well(scenario: str) -> None:
    _, _, failures = BOOK.portion(scenario, 0, CORPUS)
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("bug", CHEAP_BUGS)
def test_a_bug_is_caught(bug: str) -> None:
    assert mutants.caught(bug, 150) is not None


@pytest.mark.timeout(FRESH_SECONDS + 120)
def test_fresh_stories_end_well() -> None:
    seed = BOOK.fresh_seed()
    report = BOOK.run(list(SCENARIOS), seed, minutes=FRESH_SECONDS / 60)
    sys.stdout.write(f"seeds from {seed} on\n{report.table()}\n")
    assert not report.failures, "\n".join(map(str, report.failures))


@pytest.mark.parametrize("scenario", ["rebalances"])
def test_the_same_seed_tells_the_same_story(scenario: str) -> None:
    told = [told_elsewhere(BOOK, scenario, 3, hash_seed=hash_seed) for hash_seed in ("1", "2", "3")]
    assert len(told[0].splitlines()) > 30
    assert told[0] == told[1] == told[2]
