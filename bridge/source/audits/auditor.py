"""Reads the lists of single runs, publishes what the feed did not show, and seals finished runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from bridge import telemetry
from bridge.clock import SECOND, Clock, Micros
from bridge.errors import (
    AccessError,
    ApiError,
    ApiRejected,
    BridgeError,
    InvalidId,
    RateLimited,
)
from bridge.missions.client import MissionsClient
from bridge.missions.models import Event
from bridge.missions.proof import ABSENT
from bridge.source.audits import rules
from bridge.source.audits.rules import Sorted
from bridge.source.audits.run_table import RunTable, finished
from bridge.source.checkpoint.lateness import how_late, worst
from bridge.source.checkpoint.position import Hole, Position
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.reading import lists
from bridge.source.reading.reader import Between, ListReader
from bridge.source.reading.windows import Found, Item
from bridge.source.writing import certificate
from bridge.source.writing.certificate import Finding, Proof
from bridge.source.writing.transaction import BATCH_ITEMS, Committer

AT_ONCE: Final = 20
"""Runs whose audits share a transaction."""

FAILURES: Final = 3
"""After so many failures in a row audits wait for the next poll: the API is likely away."""

MUTATIONS: Final = 100
"""Changed events that are told one by one in a transaction at most; all are counted."""

Poll = Callable[[], Awaitable[float]]
"""Polls the feed; returns the monotonic time at which that is due again."""

Published = Callable[[str, Micros], Awaitable[set[bytes] | None]]
"""Digests of a run's events on the topics; None if the logs no longer reach back to a time."""


@dataclass(slots=True)
class _Repair:
    """The runs that are still to be looked at before a hole is closed, and what was found.

    `newer` are gaps that opened since it began: they are left for another round.
    """

    hole: Hole
    waiting: set[str]
    newer: Hole | None = None
    runs: int = 0
    found: int = 0
    unread: int = 0


@dataclass(slots=True)
class _Work:
    """What audits have found that waits for its transaction."""

    proof: Proof
    items: list[Item] = field(default_factory=list)
    runs: dict[str, RunSummary] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class Auditor:
    """Audits the runs of one source, between its polls.

    `interval` is the time between audits of a live run, `cap` the widest lateness window.
    """

    def __init__(
        self,
        client: MissionsClient,
        clock: Clock,
        committer: Committer,
        reader: ListReader,
        table: RunTable,
        published: Published,
        may_go_on: Callable[[], bool],
        interval: Micros,
        cap: Micros,
    ) -> None:
        self._cap = cap
        self._client = client
        self._clock = clock
        self._committer = committer
        self._reader = reader
        self._published = published
        self._may_go_on = may_go_on
        self._interval = interval
        self._table = table
        self._discover_at = 0.0
        self._told: set[tuple[bytes, int]] = set()
        self._repair: _Repair | None = None
        self._repair_at = 0.0
        self._lateness: Micros = 0
        self._between: Between | None = None

    def mutations(self, items: Collection[Item]) -> list[Finding]:
        """Return a finding for each item that was published with other content; each once."""
        state = self._committer.state
        changed = {(one.digest, one.checksum): one for one in state.changed(list(items))}
        new = [changed[name] for name in sorted(changed.keys() - self._told)]
        self._told |= changed.keys()
        telemetry.events_mutated(state.source, len(new))
        return [certificate.mutated(item) for item in new[:MUTATIONS]]

    def note_gap(self, gap: Hole) -> None:
        """Take note that the feed may have lost events, also while older losses are looked into."""
        repair = self._repair
        if repair is not None:
            repair.newer = gap if repair.newer is None else repair.newer.with_gap(gap)

    async def work(self, proof: Proof, until: float, poll: Poll) -> bool:
        """Audit the runs that are due at the time of `proof`; True if more are.

        Stops at the monotonic time `until`, but for the list under way: while a long one is read,
        `poll` is called when it is due. Raises what the writer raises, and what the API client
        raises unless it is about a single run.
        """
        now, self._lateness = proof.server_time, proof.lateness
        work, poll_at = _Work(proof), until

        async def between() -> None:
            nonlocal poll_at
            if self._clock.monotonic() >= poll_at:
                # What a poll publishes counts in the summaries of its runs: none may wait here.
                await self._finish(work)
                poll_at = await poll()

        self._between = between
        hole = self._committer.state.position.hole
        # Dates step; how long ago the last round was, our own clock knows.
        here = self._clock.monotonic()
        repairs = hole is not None and self._repair is None and here >= self._repair_at
        if (repairs or here >= self._discover_at) and not await self._discover(proof):
            return False
        if repairs and hole is not None:
            self._repair = _Repair(hole, self._table.readable())
            self._repair_at = here + self._interval / SECOND
            self._table.hurry(self._repair.waiting)
        failures = 0
        while (run := self._table.next(now)) is not None and self._clock.monotonic() < until:
            if not self._may_go_on() or failures == FAILURES:
                break
            failures = 0 if await self._try(run, now, work) else failures + 1
            if len(work.runs) >= AT_ONCE or len(work.items) >= BATCH_ITEMS:
                await self._finish(work)
        await self._finish(work)
        telemetry.audits_waiting(self._committer.state.source, self._table.waiting(now))
        return failures < FAILURES and self._table.next(now) is not None

    async def _discover(self, proof: Proof) -> bool:
        """Look which runs there are; False if that is not known now, then audits wait."""
        try:
            if not await self._table.discover(proof, self._between):
                return False
        except RateLimited:
            raise
        except (ApiError, AccessError, ApiRejected) as error:  # a refused key stops the feed too
            telemetry.dependency_away("api", str(error), of="the list of runs")
            return False
        telemetry.dependency_back("api", of="the list of runs")
        self._discover_at = self._clock.monotonic() + self._interval / SECOND
        return True

    async def _try(self, run: str, now: Micros, work: _Work) -> bool:
        """Audit one run; False if the API gave no usable answer, then it is put off."""
        try:
            read = await self._look_at(run, now, work)
        except RateLimited:
            await self._finish(work)
            raise
        except (ApiError, AccessError, ApiRejected) as error:
            telemetry.run_audited(self._committer.state.source, "failed")
            telemetry.dependency_away("api", str(error), of="audits of runs")
            if isinstance(error, ApiRejected):  # it would be refused again
                self._note_repair(run, found=0, read=False)
            self._table.looked_at(run, now, self._lateness)
            return False
        except BridgeError:
            await self._finish(work)
            raise
        if read:
            self._table.looked_at(run, now, self._lateness)
        return True

    async def _look_at(self, run: str, now: Micros, work: _Work) -> bool:
        """Audit one run; what it finds is added to `work`. False when it was interrupted."""
        state = self._committer.state
        summary, mission_id = state.runs.get(run), self._table.mission_of(run)
        if summary is None or mission_id is None:
            self._note_repair(run, found=0, read=False)
            return True
        try:
            if summary.finished is None or run not in self._table.status:
                there = await self._client.get_run(mission_id, run)
                self._table.status[run] = there.status or ""
                summary = replace(summary, mission_id=mission_id, finished=finished(there))
            before = state.runs.get(run)
            items = await self.events_of(mission_id, run, self._between)
            if items is not None and state.runs.get(run) != before:
                # A poll published some of it meanwhile: a list and counts of other times.
                summary = replace(
                    state.runs.get(run, summary), mission_id=mission_id, finished=summary.finished
                )
                if rules.needs_counts(summary, self._sorted(items)):
                    items = await self.events_of(mission_id, run)
        except InvalidId:
            # As it is now: a poll may have published some of it while its list was asked for.
            work.runs[run] = replace(state.runs.get(run, summary), stage="closed")
            telemetry.run_audited(state.source, "gone")
            self._note_repair(run, found=0, read=False)
            return True
        except ApiRejected as error:
            if error.status not in ABSENT:
                raise
            gone = work.runs[run] = rules.after_absence(state.runs.get(run, summary), now)
            telemetry.run_audited(state.source, "gone")
            if rules.is_confirmed(gone, now, interval=self._interval):
                self._note_repair(run, found=0, read=False)
            return True
        if items is None:
            return False
        fresh = await self._compare(run, rules.there_again(summary), items, now, work)
        work.items += fresh
        work.findings += self.mutations(items)
        self._note_repair(run, found=len(fresh), read=True)
        telemetry.run_audited(state.source, "found" if fresh else "complete")
        return True

    async def _compare(
        self, run: str, summary: RunSummary, items: list[Item], now: Micros, work: _Work
    ) -> list[Item]:
        """Return the items of a run's list that must be published; note its summary in `work`.

        The summary is without those items: whoever publishes them adds them.
        """
        counted, found = self._counted(items), self._sorted(items)
        fresh = found.new
        if not rules.accounts_for(summary, found):
            on_topic = await self._published(run, min(one.at for one in counted))
            if on_topic is None:
                # Whether the expired ones were ever published cannot be told any more.
                work.findings.append(self._unprovable(found.expired))
                on_topic = {item.digest for item in (*found.known, *found.expired)}
            fresh = fresh + [item for item in found.expired if item.digest not in on_topic]
            there = rules.listing_of([i for i in counted if i.digest in on_topic], now)
            summary = replace(summary, count=there.count, digest=there.digest)
        elif summary.count is None:
            there = rules.listing_of(found.known, now)
            summary = replace(summary, count=there.count, digest=there.digest)
        if not fresh:
            listing = rules.listing_of(counted, now)
            after = rules.after_listing(summary, listing, lateness=self._lateness)
            if after.stage == "sealed" != summary.stage:
                work.findings.append(self._seal(run, after))
            summary = after
        work.runs[run] = summary
        return fresh

    def _counted(self, items: list[Item]) -> list[Item]:
        since = self._committer.state.position.counted_from
        return [item for item in items if item.at >= since]

    def _sorted(self, items: list[Item]) -> Sorted:
        state = self._committer.state
        return rules.sort_out(self._counted(items), state.seen, oldest=state.position.oldest)

    def _seal(self, run: str, summary: RunSummary) -> Finding:
        telemetry.run_sealed(self._committer.state.source)
        since = self._committer.state.position.audit_floor
        status = self._table.status.get(run, "")
        return certificate.seal("sealed", run, summary, status=status, since=since)

    def _unprovable(self, expired: list[Item]) -> Finding:
        source = self._committer.state.source
        telemetry.run_audited(source, "unprovable")
        times = [item.at for item in expired]
        return certificate.gap(source, Hole(min(times, default=0), max(times, default=None)))

    async def events_of(
        self, mission_id: str, run_id: str, between: Between | None = None
    ) -> list[Item] | None:
        """Read a run's own list, oldest first; None when it was interrupted."""
        items: dict[bytes, Item] = {}

        async def found(one: Found) -> None:
            for item in one.items:
                if isinstance(item.row, Event) and item.row.run_id == run_id:
                    items[item.digest] = item

        listing = lists.of_run(self._client, mission_id, run_id)
        swept = await self._reader.whole(listing, found, between=between)
        return None if swept is None else sorted(items.values(), key=lambda item: item.at)

    def _note_repair(self, run: str, *, found: int, read: bool) -> None:
        repair = self._repair
        if repair is None or run not in repair.waiting:
            return
        repair.waiting.discard(run)
        repair.runs += read
        repair.unread += not read
        repair.found += found

    def _measured(self, position: Position, items: list[Item], proof: Proof) -> Position:
        """Take note of how late events were that a wider window would have caught."""
        by = [one for one in how_late(items, position.frontier) if one <= self._cap]
        telemetry.lateness_measured(self._committer.state.source, [one / SECOND for one in by])
        return replace(position, worst_late=worst(position.worst_late, by, proof.server_time))

    async def _finish(self, work: _Work) -> None:
        """Commit what was found; with the last run of a repair the hole is closed."""
        state = self._committer.state
        position, findings = state.position, work.findings
        repair = self._repair
        closed = repair if repair is not None and not repair.waiting else None
        if closed is not None:
            position = replace(position, hole=closed.newer)
            counts = {"found": closed.found, "runs": closed.runs, "unread": closed.unread}
            told = certificate.gap_closed(state.source, closed.hole, **counts)
            findings = [*findings, told]
        items = sorted(work.items, key=lambda item: item.at)
        if repair is None:
            position = self._measured(position, items, work.proof)
        runs = {run: one for run, one in work.runs.items() if one != state.runs.get(run)}
        first, rest = items[:BATCH_ITEMS], items[BATCH_ITEMS:]
        await self._committer.commit(first, position, work.proof, findings, runs=runs, proven=True)
        while rest:
            part, rest = rest[:BATCH_ITEMS], rest[BATCH_ITEMS:]
            await self._committer.commit(part, position, work.proof, proven=True)
        if closed is not None:
            self._repair = None
            telemetry.gap_closed(state.source)
        work.items, work.runs, work.findings = [], {}, []
