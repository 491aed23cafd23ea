"""Which mission a run belongs to: events do not say, the lists of runs do."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Final

from bridge import telemetry
from bridge.clock import Clock
from bridge.missions.client import MissionsClient
from bridge.missions.models import Run

PAGE: Final = 1000
PAGES: Final = 20
"""A look-up reads so many pages of the runs list at most: it is a service, not a promise."""

KNOWN: Final = 100_000
"""Runs that are remembered, the oldest ones are forgotten first: about 60 bytes each, beside the
ids, which the checkpoint shares."""

UNKNOWN_FOR: Final = 300.0
"""Seconds during which a run that was not found is not looked up again."""


class MissionIndex:
    """run_id -> mission_id; both never change, so an answer is good for ever."""

    def __init__(self, client: MissionsClient, clock: Clock, source: str) -> None:
        self._client = client
        self._clock = clock
        self._source = source
        self._missions: dict[str, str] = {}
        self._unknown: dict[str, float] = {}

    def get(self, run_id: str) -> str | None:
        """Return the mission of a run, None if it is not known."""
        return self._missions.get(run_id)

    def note(self, run: Run) -> None:
        """Take note of a run that was listed."""
        # Interned: few missions have all the runs, and the checkpoint holds the same ids.
        self._missions[sys.intern(run.run_id)] = sys.intern(run.mission_id)
        while len(self._missions) > KNOWN:
            del self._missions[next(iter(self._missions))]

    async def learn(self, run_ids: Collection[str]) -> bool:
        """Look up what is not known of `run_ids`: newest runs first, until all are found.

        Returns whether there was anything to look up. Raises what the API client raises.
        """
        now = self._clock.monotonic()
        self._unknown = {one: until for one, until in self._unknown.items() if until > now}
        wanted = {r for r in run_ids if r not in self._missions and r not in self._unknown}
        wanted.discard("")
        if not wanted:
            return False
        for number in range(1, PAGES + 1):
            page = await self._client.list_recent_runs(page=number, size=PAGE)
            for run in page.items:
                self.note(run)
                wanted.discard(run.run_id)
            if number >= page.total_pages or not wanted:
                break
        self._unknown.update(dict.fromkeys(wanted, now + UNKNOWN_FOR))
        telemetry.missions_unknown(self._source, len(wanted))
        return True
