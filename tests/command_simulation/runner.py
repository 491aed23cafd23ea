"""The stories of the command side."""

from __future__ import annotations

from typing import Final

from simulation.playing import Book

from command_simulation.scenarios import SCENARIOS
from command_simulation.story import play

BOOK: Final = Book("command_simulation", "bridge/commands", SCENARIOS, play)
