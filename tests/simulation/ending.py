"""How a process of a story ended by itself."""

from __future__ import annotations

import traceback
from typing import Protocol

from bridge.errors import GaveUp
from simulation.virtual import Machine


class Stage(Protocol):
    """What can be told of it."""

    def tell(self, who: str, what: str) -> None:
        """Add a line to the account."""

    def fail(self, problem: str) -> None:
        """End the story with a problem."""


def gave_up(stage: Stage, machine: Machine, error: BaseException | None) -> bool:
    """Whether a process that ended is to be started again; else the story has failed."""
    if machine.dead:
        return False
    if isinstance(error, GaveUp):
        stage.tell(machine.name, f"gives up: {error}")
        machine.dead = True
        return True
    lines = traceback.format_exception(error) if error is not None else ["without a reason"]
    stage.tell(machine.name, "ends:\n" + "".join(lines))
    stage.fail(f"{machine.name} ended: {type(error).__name__}: {error}")
    return False
