"""Whatever the API, Kafka and the processes do: nothing is lost, nothing is published twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bridge.source.identity import digest
from simulation import mutants
from simulation.findings import FINDINGS
from simulation.playing import quietly
from simulation.runner import BOOK
from simulation.scenarios import SCENARIOS
from simulation.telling import told_elsewhere
from simulation.weather import TWINS

CORPUS = 20
"""Seeds of each scenario that are played every time."""

FRESH_SECONDS = 30.0
"""So long seeds are played that nobody has played before."""

CHEAP_BUGS = (
    "a short page is the end",
    "a shallow pass moves the frontier",
    "a sweep stops at the frontier",
    "digests of 32 bits",
    "digests without lengths",
    "dead letters are dropped",
    "the checkpoint follows the events",
    "the events follow the checkpoint",
    "a producer is used again after a failure",
    "a repeated EndTxn is not noticed",
    "the checkpoint is read to its end offset",
    "the checkpoint is read uncommitted",
    "each owner has a transactional id of its own",
)
"""Bugs that show soon; `make mutants` has all."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing; the other tests have their logging back afterwards."""
    with quietly():
        yield


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_story_that_was_told_before_ends_well(scenario: str) -> None:
    share = SCENARIOS[scenario].share
    _, _, failures = BOOK.portion(scenario, 0, round(CORPUS * share))
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize(("scenario", "seed"), FINDINGS)
def test_a_story_that_went_wrong_once_ends_well(scenario: str, seed: int) -> None:
    _, _, failures = BOOK.portion(scenario, seed, 1)
    assert not failures, "\n".join(map(str, failures))


@pytest.mark.parametrize("bug", CHEAP_BUGS)
def test_a_bug_is_caught(bug: str) -> None:
    assert mutants.caught(bug, 30) is not None


def test_twins_have_digests_that_begin_alike() -> None:
    one, other = (digest("7", name) for name in TWINS.values())
    assert one != other
    assert one[:4] == other[:4]


@pytest.mark.timeout(FRESH_SECONDS + 120)
def test_fresh_stories_end_well() -> None:
    seed = BOOK.fresh_seed()
    report = BOOK.run(list(SCENARIOS), seed, minutes=FRESH_SECONDS / 60)
    sys.stdout.write(f"seeds from {seed} on\n{report.table()}\n")
    assert not report.failures, "\n".join(map(str, report.failures))


@pytest.mark.parametrize("scenario", ["takeover"])
def test_the_same_seed_tells_the_same_story(scenario: str) -> None:
    told = [told_elsewhere(BOOK, scenario, 7, hash_seed=hash_seed) for hash_seed in ("1", "2")]
    assert len(told[0].splitlines()) > 30
    assert told[0] == told[1]
