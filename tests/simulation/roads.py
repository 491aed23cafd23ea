"""How requests to the API travel, and what is done to them on their way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Roads:
    """How requests travel, and what is done to answers on their way. Shares of requests."""

    latencies: tuple[float, ...] = (0.02, 0.02, 0.05, 0.05, 0.1, 0.3, 1.5)
    lost: float = 0.0
    """No answer: refused, reset, or silence."""
    wrong_dates: float = 0.0
    """Answers whose Date is three lateness windows ahead."""
    no_dates: float = 0.0
    """Answers without a Date."""
    other_pages: float = 0.0
    """Answers that hold the page after the one that was asked for, and say so."""
    fixed_size: int | None = None
    """The server has one page size, whatever is asked for."""
    hidden_runs: float = 0.7
    """Share of stories in which the API lists no runs: no audit mends what sweeps miss."""
    outages: float = 0.0
    """Chance a second that the API is away, for 30 to 200 s."""
