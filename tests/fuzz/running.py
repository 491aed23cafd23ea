"""Play cases one after the other, and count them."""

from __future__ import annotations

import asyncio
import traceback

import stamina
from simulation.playing import quietly

from fuzz.cases import KINDS

_LONGEST = 120.0
"""Real seconds that one case may take."""


def play(kind: str, seed: int) -> str | None:
    """Play one case; return what went wrong and the command that replays it."""
    try:
        with quietly(), stamina.set_testing(True, attempts=1):
            asyncio.run(asyncio.wait_for(KINDS[kind](seed), _LONGEST))
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        again = f"make fuzz REPLAY='{kind} {seed}'"
        return f"{traceback.format_exc()}\nplay it again: {again}"
    return None
