"""Moves a source's position with what its passes prove, in the transactions that publish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bridge import telemetry
from bridge.clock import EARLIEST, SECOND, Micros
from bridge.config.models import SourceSettings
from bridge.source.audits.auditor import Auditor
from bridge.source.checkpoint import gaps, lateness
from bridge.source.checkpoint.position import Climb, Hole, Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.reader import ListReader, Pass
from bridge.source.reading.windows import BEGINNING, Item, Link, Swept
from bridge.source.writing import certificate
from bridge.source.writing.certificate import Finding, PassKind, Proof
from bridge.source.writing.transaction import Committer


class Progress:
    """Where one source stands, as the only owner of its checkpoint.

    `fresh_until` is a time up to which everything the feed shows is published, but for what shows
    late; None before the first pass.
    """

    def __init__(
        self, settings: SourceSettings, committer: Committer, reader: ListReader, auditor: Auditor
    ) -> None:
        self._settings = settings
        self._committer = committer
        self._reader = reader
        self._auditor = auditor
        self._configured = lateness.configured(settings)
        self._passes = committer.state.sweep
        self.checkpoint: Checkpoint = committer.state
        self.fresh_until: Micros | None = None

    @property
    def lateness(self) -> Micros:
        """The lateness window in use."""
        return lateness.window(self._configured, self.checkpoint.position.worst_late)

    def stop(self) -> Micros:
        """Return the time below which a sweep may stop.

        A server whose clock was set back stamps new events below the frontier.
        """
        position = self.checkpoint.position
        if position.frontier is None:
            return position.oldest
        settled = position.frontier
        if self.fresh_until is not None:
            settled = min(settled, self.fresh_until)
        stop = settled - self.lateness - self._reader.server.step
        stop = max(stop, position.frontier - self._configured.lateness_max, position.oldest)
        return BEGINNING if stop <= EARLIEST else stop

    def proof(self, kind: PassKind, stop: Micros, server_time: Micros) -> Proof:
        """Begin the certificate of a pass."""
        self._passes += 1
        return Proof(kind, self._passes, server_time, stop, self.lateness)

    async def settle(
        self, one: Pass[Swept], swept: Swept, items: Sequence[Item], proof: Proof
    ) -> None:
        """Publish what a pass found last; the frontier moves with the end of it."""
        state = self.checkpoint
        before = state.position
        position = replace(before, climb=None)
        findings: list[Finding] = []
        if not swept.is_sorted:
            telemetry.order_violated(state.source)
        if swept.bottom is not None:
            position = replace(position, bottom=swept.bottom)
        if before.frontier is None:
            position = replace(position, hole=gaps.unknown_past(before, swept))
        else:
            position, findings = self._suspect(position, proof.stop, swept)
        if proof.kind != "climb":
            position, findings = self._late(position, items, proof, findings)
        if swept.complete and swept.newest is not None:
            newest = min(swept.newest, self._reader.settled(one))
            position = replace(position, frontier=self._ahead(newest))
        items = [*items, *one.strays.values()]
        await self._committer.commit_all(items, position, proven(proof, swept), findings)
        telemetry.swept(state.source, proof.kind, one.requests)

    async def settle_part(
        self, one: Pass[Swept], items: Sequence[Item], links: Sequence[Link], proof: Proof
    ) -> None:
        """Publish what a deep pass found so far; it proves nothing before its end."""
        before = self.checkpoint.position
        position, findings = self._late(before, items, proof, [])
        items = [*items, *one.strays.values()]
        await self._committer.commit_all(items, position, replace(proof, links=links), findings)

    async def settle_climb(
        self,
        one: Pass[Swept],
        items: Sequence[Item],
        links: Sequence[Link],
        proof: Proof,
        climb: Climb,
        short: Micros | None,
    ) -> None:
        """Publish what a climb found up to its height, and note that; `short` as in `Found`."""
        # Another process may end this climb: it has to know how old its windows were.
        climb = replace(climb, began=min(climb.began, one.as_of))
        before, findings = self.checkpoint.position, list[Finding]()
        position = replace(before, climb=climb)
        if short is not None:
            position = replace(position, bottom=short)
            gap = gaps.fallen_off(before, proof.stop, short)
            position, findings = self._noted(position, gap)
        items = [*items, *one.strays.values()]
        await self._committer.commit_all(items, position, replace(proof, links=links), findings)
        self.show(min(climb.low, climb.began))

    async def publish(self, items: Sequence[Item], proof: Proof) -> None:
        """Publish what is new, and leave the position where it is."""
        await self._committer.commit_all(items, self.checkpoint.position, proof)

    def show(self, fresh_until: Micros) -> None:
        """Tell metrics and `/status` where the source stands."""
        self.fresh_until = fresh_until
        position = self.checkpoint.position
        until = position.complete_until(self.lateness)
        telemetry.position(
            self._settings.name,
            frontier=position.frontier and position.frontier / SECOND,
            complete_until=until and until / SECOND,
            fresh_until=fresh_until / SECOND,
            lateness=self.lateness / SECOND,
            clock_step=self._reader.server.step / SECOND,
        )

    def _ahead(self, newest: Micros) -> Micros:
        """Return the frontier moved to `newest`; it never goes back."""
        frontier = self.checkpoint.position.frontier
        return newest if frontier is None else max(frontier, newest)

    def _suspect(
        self, position: Position, stop: Micros, swept: Swept
    ) -> tuple[Position, list[Finding]]:
        """Note gaps; audits look into them, and into what is added to them meanwhile."""
        before, now = self.checkpoint.position, self._reader.server_now()
        out_of_reach = gaps.out_of_reach(before, now, self.lateness, self._configured.lateness_max)
        fallen_off = gaps.fallen_off(before, stop, swept.bottom) if swept.gap else None
        position, findings = self._noted(position, fallen_off)
        position, more = self._noted(position, out_of_reach)
        return position, findings + more

    def _noted(self, position: Position, gap: Hole | None) -> tuple[Position, list[Finding]]:
        """Return the position with a gap, and what is to be told of it."""
        if gap is None:
            return position, []
        self._auditor.note_gap(gap)
        if position.hole is not None:
            return replace(position, hole=position.hole.with_gap(gap)), []
        telemetry.gap_suspected(self._settings.name)
        return replace(position, hole=gap), [certificate.gap(self._settings.name, gap)]

    def _late(
        self, position: Position, items: Sequence[Item], proof: Proof, findings: list[Finding]
    ) -> tuple[Position, list[Finding]]:
        """Take note of what changed among `items`, and of how late the new ones are."""
        state = self.checkpoint
        findings = findings + self._auditor.mutations(items)
        if position.hole is not None:
            return position, findings
        unseen = (item for item in items if item.is_dated and item.digest not in state.seen)
        new = [item for item in unseen if item.at >= state.position.oldest]
        measured = lateness.how_late(new, state.position.frontier)
        telemetry.lateness_measured(state.source, [by / SECOND for by in measured])
        worst = lateness.worst(position.worst_late, measured, proof.server_time)
        return replace(position, worst_late=worst), findings


def proven(proof: Proof, swept: Swept) -> Proof:
    """Return the certificate of a pass that is over."""
    return replace(proof, complete=swept.complete, is_sorted=swept.is_sorted, links=swept.links)
