"""Which runs there are, as far back as any may be unknown, and when each is to be looked at."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from bridge.clock import Micros
from bridge.missions.client import MissionsClient
from bridge.missions.models import Run
from bridge.missions.timestamps import moment
from bridge.source.audits import rules
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.identity import short_run
from bridge.source.reading import page_items
from bridge.source.reading.reader import ApiList, Between, ListReader
from bridge.source.reading.windows import BEGINNING, Found
from bridge.source.writing.certificate import Proof
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.transaction import Committer

ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})

AT_ONCE: Final = 2000
"""Summaries in one transaction at most."""


def finished(run: Run) -> Micros | None:
    """Return when a run ended; None while it is live."""
    if run.status not in ENDED:
        return None
    times = (moment(text) for text in (run.finished_at, run.updated_at, run.started_at))
    return next((at for at in times if at is not None), 0)


class _Listed(NamedTuple):
    """What the list says of a run; `ended` is None while it is live."""

    mission_id: str | None
    ended: Micros | None


class RunTable:
    """The runs that are not closed, in the order in which they are due."""

    def __init__(
        self,
        client: MissionsClient,
        committer: Committer,
        reader: ListReader,
        index: MissionIndex,
        interval: Micros,
        cap: Micros,
    ) -> None:
        self._committer = committer
        self._reader = reader
        self._index = index
        self._interval = interval
        self._cap = cap
        self._list = ApiList(
            "the runs",
            lambda page, size: client.list_recent_runs(page=page, size=size),
            page_items.runs,
        )
        self._due: list[tuple[Micros, str]] = []
        self._looked_at: dict[str, Micros] = {}
        self._urgent: set[str] = set()
        self.status: dict[str, str] = {}
        """How each run was when it was seen last."""

    async def discover(self, proof: Proof, between: Between | None) -> bool:
        """Read the list of runs and take in what is new; False when that was interrupted.

        `between` is awaited after each request. Raises what the API client and the writer raise.
        """
        position = self._committer.state.position
        stop = self._stop(proof)
        listed: dict[str, _Listed] = {}

        async def found(one: Found) -> None:
            for item in one.items:
                if isinstance(item.row, Run):
                    self._take(item.row, stop, listed)

        swept = await self._reader.whole(self._list, found, stop, between)
        if swept is None:
            return False
        # Only now: events may have been published while the list was read.
        changed = {run: one for run, one in self._summaries(listed) if one != self._known(run)}
        changed.update(dict.fromkeys(self._useless()))
        entries = list(changed.items())
        for begin in range(0, len(entries), AT_ONCE):
            part = dict(entries[begin : begin + AT_ONCE])
            await self._committer.commit([], position, proof, runs=part)
            position = self._committer.state.position
        if swept.newest is not None:
            newest = max(swept.newest, position.runs_until or BEGINNING)
            until = min(newest, proof.server_time)
            await self._committer.commit([], replace(position, runs_until=until), proof)
        self._plan(proof.lateness)
        return True

    def _stop(self, proof: Proof) -> Micros:
        """Return how far back the list of runs is to be read.

        A clock that was set back stamps new runs below those that are known.
        """
        until = self._committer.state.position.runs_until
        if until is None:
            return BEGINNING
        if proof.server_time < until:
            until = min(until, proof.server_time - self._cap)
        return until - proof.lateness

    def mission_of(self, run: str) -> str | None:
        """Return the mission of a run in the table, None if it is not known."""
        summary = self._committer.state.runs.get(run)
        return (summary and summary.mission_id) or self._index.get(run)

    def readable(self) -> set[str]:
        """Return all runs whose lists can be read."""
        runs = self._committer.state.runs.items()
        return {run for run, one in runs if one.stage != "closed" and self.mission_of(run)}

    def next(self, now: Micros) -> str | None:
        """Return a run that is due at `now`."""
        return self._due[0][1] if self._due and self._due[0][0] <= now else None

    def waiting(self, now: Micros) -> int:
        """Return how many runs are due."""
        return sum(1 for at, _ in self._due if at <= now)

    def hurry(self, runs: set[str]) -> None:
        """Let these runs be due before all others, until each was looked at."""
        self._urgent = set(runs)
        self._due = [(BEGINNING, run) for run in sorted(runs)]

    def looked_at(self, run: str, now: Micros, lateness: Micros) -> None:
        """Put a run that was looked at, or could not be, back into the order."""
        if self._due and self._due[0][1] == run:
            heapq.heappop(self._due)
        self._looked_at[run] = now
        self._urgent.discard(run)
        summary = self._committer.state.runs.get(run)
        if summary is not None and summary.stage != "closed":
            heapq.heappush(self._due, (self._when(run, now, lateness), run))

    def _take(self, run: Run, stop: Micros, listed: dict[str, _Listed]) -> None:
        """Note a listed run, unless it is closed."""
        name, ended = short_run(run.run_id), finished(run)
        self._index.note(run)
        if self._known(name) is None:
            started = moment(run.started_at)
            if started is not None and started < stop:
                return  # closed long ago, and on the page by chance
            if ended is not None and ended < self._committer.state.position.counted_from:
                return
        self.status[name] = sys.intern(run.status or "")
        # Interned, as few missions have all the runs.
        mission_id = None if run.mission_id is None else sys.intern(run.mission_id)
        listed[name] = _Listed(mission_id, ended)

    def _summaries(self, listed: Mapping[str, _Listed]) -> Iterator[tuple[str, RunSummary | None]]:
        """Yield the summaries of listed runs."""
        for run, one in listed.items():
            known = self._known(run) or RunSummary()
            mission_id, ended = one.mission_id or known.mission_id, one.ended or known.finished
            yield run, replace(known, mission_id=mission_id, finished=ended)

    def _known(self, run: str) -> RunSummary | None:
        return self._committer.state.runs.get(run)

    def _useless(self) -> list[str]:
        """Name runs of which nothing can come any more that is older than their newest event."""
        state = self._committer.state
        kept_from = state.position.kept_from
        if kept_from is None:
            return []
        return [
            run
            for run, one in state.runs.items()
            if one.newest < kept_from and (one.stage == "closed" or not self.mission_of(run))
        ]

    def _plan(self, lateness: Micros) -> None:
        """Put all runs in the order in which they are due."""
        runs = self._committer.state.runs
        # One that was not looked at in this life of the process is due as soon as it may be.
        self._looked_at = {run: self._looked_at.get(run, BEGINNING) for run in self.readable()}
        self.status = {run: one for run, one in self.status.items() if run in runs}
        self._due = [(self._when(run, at, lateness), run) for run, at in self._looked_at.items()]
        heapq.heapify(self._due)

    def _when(self, run: str, looked_at: Micros, lateness: Micros) -> Micros:
        if run in self._urgent:
            return BEGINNING
        summary = self._committer.state.runs[run]
        return rules.due(summary, looked_at, lateness=lateness, interval=self._interval)
