"""Which mission a run belongs to: events do not say, the lists of runs do."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection
from typing import Final

from bridge import telemetry
from bridge.clock import Clock, Micros
from bridge.errors import BridgeError
from bridge.missions.client import MissionsClient
from bridge.missions.models import Run
from bridge.missions.timestamps import moment

PAGE: Final = 1000
PAGES: Final = 20
"""A look-up reads so many pages of the runs list at most: it is a service, not a promise."""

KNOWN: Final = 100_000
"""Runs that are remembered, the oldest ones are forgotten first: about 200 bytes each, beside the
ids, which the checkpoint shares."""

UNKNOWN_FOR: Final = 300.0
"""Seconds during which a run that was not found is not looked up again."""

SHARE: Final = 5
"""A list that goes on failing costs no more than one part in so many of the time."""


class MissionIndex:
    """run_id -> mission_id; both never change, so an answer is good for ever."""

    def __init__(self, client: MissionsClient, clock: Clock, source: str) -> None:
        self._client = client
        self._clock = clock
        self._source = source
        self._missions: dict[str, str] = {}
        self._began: dict[str, Micros] = {}
        self._unknown: dict[str, float] = {}
        self._left_alone_until = -math.inf

    def get(self, run_id: str) -> str | None:
        """Return the mission of a run, None if it is not known."""
        return self._missions.get(run_id)

    def began(self, run_id: str) -> Micros | None:
        """Return when a run began, None if that is not known."""
        return self._began.get(run_id)

    def note(self, run: Run) -> None:
        """Take note of a run that was listed."""
        if run.mission_id is None:
            return
        # Interned: few missions have all the runs, and the checkpoint holds the same ids.
        run_id, began = sys.intern(run.run_id), moment(run.started_at)
        self._missions[run_id] = sys.intern(run.mission_id)
        if began is not None:
            self._began[run_id] = began
        while len(self._missions) > KNOWN:
            oldest = next(iter(self._missions))
            del self._missions[oldest]
            self._began.pop(oldest, None)

    async def learn(self, run_ids: Collection[str]) -> bool:
        """Look up what is not known of `run_ids`: newest runs first, until all are found.

        Returns whether anything was looked up. Raises what the API client raises.
        """
        now = self._clock.monotonic()
        self._unknown = {one: until for one, until in self._unknown.items() if until > now}
        wanted = {r for r in run_ids if r not in self._missions and r not in self._unknown}
        wanted.discard("")
        if not wanted:
            return False
        if now < self._left_alone_until:
            telemetry.missions_unknown(self._source, len(wanted))
            return False
        try:
            wanted = await self._read(wanted)
            self._unknown.update(dict.fromkeys(wanted, now + UNKNOWN_FOR))
        except BridgeError:
            failed = self._clock.monotonic()
            self._left_alone_until = failed + (SHARE - 1) * (failed - now)
            raise
        finally:
            telemetry.missions_unknown(self._source, len(wanted))
        return True

    async def _read(self, wanted: set[str]) -> set[str]:
        """Read the list of runs until these are found; return those that are not."""
        for number in range(1, PAGES + 1):
            page = await self._client.list_recent_runs(page=number, size=PAGE)
            for run in page.items:
                if isinstance(run, Run):
                    self.note(run)
            wanted = wanted - self._missions.keys()
            is_last = page.total_pages is not None and number >= page.total_pages
            if is_last or not page.items or not wanted:
                break
        return wanted
