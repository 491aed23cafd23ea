"""All 125,000 ways in which three attempts at a run start can go, with the real engine."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
from commands_model import FIRST_ATTEMPTS, WAYS, Crash, Fate, Tally, walk
from simulation.playing import be_quiet, quietly

from bridge.commands.model import Verb
from bridge.commands.requests import resolution

LOST_WITHOUT_EFFECT = [
    (list(Crash).index(Crash.NONE), len(Crash)),
    (list(Fate).index(Fate.LATE), len(Fate)),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", ["strict", "resolve"])
def test_every_way_of_three_attempts_ends_well(policy: str) -> None:
    """Two effects come only of a request that is carried out after the settle time."""
    tally = Tally()
    with ProcessPoolExecutor(os.cpu_count(), initializer=be_quiet) as pool:
        for part in pool.map(partial(walk, policy), FIRST_ATTEMPTS):
            tally.plus(part)
    sys.stdout.write(f"{policy}: {tally.paths} paths, {dict(tally.statuses)}, twice {tally.twice}")
    assert not tally.problems, "\n".join(tally.problems[:10])
    assert tally.ways == WAYS == 125_000
    assert (tally.twice > 0) is (policy == "resolve"), "the price of resolve is gone, or strict's"


def test_a_start_that_is_repeated_too_early_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(resolution.REPEAT, Verb.START_RUN, resolution.Repeat.AT_ONCE)
    with quietly():
        tally = walk("resolve", LOST_WITHOUT_EFFECT)
    assert any("2 effects" in problem for problem in tally.problems)
