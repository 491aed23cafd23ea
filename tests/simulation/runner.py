"""The stories of the source."""

from __future__ import annotations

from typing import Final

from simulation.playing import Book
from simulation.scenarios import SCENARIOS
from simulation.story import play

BOOK: Final = Book("simulation", "bridge/source", SCENARIOS, play)
