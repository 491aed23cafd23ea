"""Many stories: what they came to in all, and how to replay those that went wrong."""

from __future__ import annotations

import traceback

from command_simulation.scenarios import SCENARIOS
from command_simulation.story import Outcome, play


def tell(scenario: str, seed: int, *, trace: bool = False) -> Outcome:
    """Play one story; whatever it raises is a problem of its own."""
    try:
        return play(SCENARIOS[scenario], seed, trace=trace)
    except Exception:  # noqa: BLE001 - the seed matters more than the stop
        outcome = Outcome()
        outcome.problems.append(f"the story itself failed:\n{traceback.format_exc()}")
        return outcome
