"""One transaction of a source: decide what is new, write it with its checkpoint, take it over.

What is new is decided here, when the transaction begins, against the state as committed: sweeps,
the tail of a climb and audits may have read the same event. The state changes only after the
commit; any failure leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from bridge import telemetry
from bridge.clock import Clock, Micros
from bridge.errors import AccessError, ApiError, ApiRejected
from bridge.kafka.producer import Record, Writer
from bridge.source.checkpoint.position import Configured, Position
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.checkpoint.state import Batch, Checkpoint, Fresh
from bridge.source.reading.windows import Ask, Item
from bridge.source.writing import certificate
from bridge.source.writing.certificate import Finding, Proof
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Publisher, origin_of

BATCH_ITEMS: Final = 8000
"""Events in one transaction at most."""


class Committer:
    """Writes for one source, as the only owner of its checkpoint; `configured` is what it tells."""

    def __init__(
        self,
        state: Checkpoint,
        *,
        publisher: Publisher,
        writer: Writer,
        index: MissionIndex,
        clock: Clock,
        configured: Configured,
    ) -> None:
        self.state = state
        self._publisher = publisher
        self._writer = writer
        self._index = index
        self._clock = clock
        self._configured = configured

    async def commit_all(
        self,
        items: Sequence[Item],
        position: Position,
        proof: Proof,
        findings: Sequence[Finding] = (),
    ) -> None:
        """Publish what is new in as many transactions as it takes; the last moves the position."""
        new = [item for item in items if item.digest not in self.state.seen]
        part = replace(proof, complete=False, links=())
        while len(new) > BATCH_ITEMS:
            await self.commit(new[:BATCH_ITEMS], self.state.position, part)
            new = new[BATCH_ITEMS:]
        await self.commit(new, position, proof, findings)

    async def commit(
        self,
        items: Sequence[Item],
        position: Position,
        proof: Proof,
        findings: Sequence[Finding] = (),
        *,
        publish: bool = True,
        runs: Mapping[str, RunSummary | None] | None = None,
        proven: bool = False,
    ) -> Batch | None:
        """Publish what is new among `items` (oldest first) and move to `position`.

        Without `publish` it is only remembered. See `Checkpoint.plan` and `Checkpoint.new` for the
        rest. Returns None where there was nothing to write. Raises what the writer raises.
        """
        state = self.state
        is_any_age = proven or not publish
        if publish:
            new = state.new(items, position, proven=is_any_age)
            await self._learn({one.run_id for one in new})
        now = self._clock.now()
        # Finally: others may have published some while missions were looked up.
        new = state.new(items, position, proven=is_any_age)
        events, fresh = self._converted(new, proof, runs or {}, now) if publish else ([], [])
        batch = state.plan(
            new,
            fresh,
            position,
            server_time=max(proof.server_time, now),
            keep=position.oldest_read(self._configured.lateness_max),
            sweep=proof.number,
            runs=runs,
            configured=self._configured,
        )
        changes = batch.segment is not None or batch.runs or findings
        after, before = (batch.position, batch.configured), (state.position, state.configured)
        if not changes and after == before and not state.is_new:
            return None
        told = [*findings, *self._reopened(batch)]
        records = events + self._publisher.records(state, batch, now, proof, told)
        await self._writer.commit(records)
        state.apply(batch)
        telemetry.events_published(state.source, len(batch.fresh), batch.late)
        return batch

    def _converted(
        self,
        new: Sequence[Item],
        proof: Proof,
        runs: Mapping[str, RunSummary | None],
        now: Micros,
    ) -> tuple[list[Record], list[Fresh]]:
        """Return the records of events, and what became of each."""
        state, records, fresh = self.state, list[Record](), list[Fresh]()
        newest: dict[str, Micros] = {}
        origins: dict[Ask | None, bytes] = {}
        for item in new:
            run_id, ask = item.run_id, item.ask
            origin = origins.get(ask)
            if origin is None:
                origin = origins[ask] = origin_of(ask, state.source, state.batch + 1, proof)
            before = newest.get(run_id)
            if before is None:
                before = newest[run_id] = state.newest(run_id, runs)
            late, mission_id = before > item.at, self._index.get(run_id)
            record, is_event = self._publisher.event(item, mission_id, now, origin, late=late)
            if is_event and not late:
                newest[run_id] = item.at
            records.append(record)
            fresh.append(Fresh(item, late, is_event))
        return records, fresh

    def _reopened(self, batch: Batch) -> list[Finding]:
        """Take back the seals of runs that got another event."""
        since = batch.position.audit_floor
        found = ((run, batch.runs.get(run)) for run in batch.reopened)
        return [
            certificate.seal("unsealed", run, summary, status="", since=since)
            for run, summary in found
            if summary is not None
        ]

    async def _learn(self, run_ids: set[str]) -> None:
        """Look up the missions of runs; events are published without them rather than held back."""
        try:
            asked = await self._index.learn(run_ids)
        except (ApiError, AccessError, ApiRejected) as error:
            telemetry.dependency_away("api", str(error), of="missions of runs")
        else:
            if asked:
                telemetry.dependency_back("api", of="missions of runs")
