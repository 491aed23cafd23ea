"""Whatever anybody sends: a documented error or a true result, and good commands get through."""

from __future__ import annotations

import pytest

from fuzz.running import play

COUNTS = {"source": 2, "api": 20, "registry": 20, "commands": 5}


@pytest.mark.parametrize("kind", COUNTS)
def test_whatever_is_sent_only_documented_errors_come_of_it(kind: str) -> None:
    for seed in range(COUNTS[kind]):
        failure = play(kind, seed)
        assert failure is None, failure
