"""What a source has published and where it stands: the state that the next batch is decided by.

Pure: a batch is planned against the state and applied to it after it is committed. How the state
travels as records of the checkpoint topic is in `checkpoint_records.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from bridge.clock import Micros
from bridge.source.checkpoint.position import Configured, Position
from bridge.source.checkpoint.runs import RunSummary, fold
from bridge.source.checkpoint.segment import UNDATED, Segment, SegmentEntry
from bridge.source.identity import short_run
from bridge.source.reading.windows import BEGINNING, Item

NO_CHAIN: Final = bytes(16)
EXPIRE_AT_ONCE: Final = 200
"""Tombstones of segments in a transaction at most."""

MOST_UNDATED: Final = 10_000
"""Events without a time whose digests outlive others: the feed may show them at any height."""


class Fresh(msgspec.Struct, frozen=True, gc=False):
    """An event that is published; `late` if a later one of its run was published before.

    `is_event` is False for one that could not be converted and is a dead letter instead.
    """

    item: Item
    late: bool
    is_event: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction publishes and how it changes the checkpoint.

    `runs` are the summaries that change; None: no longer kept. `reopened` are runs that were taken
    for complete and got another event.
    """

    fresh: list[Fresh]
    position: Position
    segment: Segment | None
    expired: list[int]
    runs: dict[str, RunSummary | None]
    reopened: list[str]
    sweep: int
    configured: Configured | None = None

    @property
    def late(self) -> int:
        """How many of the events are late."""
        return sum(1 for one in self.fresh if one.late)


@dataclass(slots=True)
class Checkpoint:
    """The state of one source, as its records say.

    `partitions` are the counts of the events topic and of the checkpoint topic, `configured` the
    settings of the bridge that works on the source (None: an older version did not write them).
    `seen` has the content's checksum of each event by its digest (0: not known), `undated` says how
    many of them have no time of their own.
    """

    source: str
    feed: str
    account: str | None = None
    partitions: tuple[int, int] | None = None
    configured: Configured | None = None
    position: Position = field(default_factory=Position)
    batch: int = 0
    chain: bytes = NO_CHAIN
    sweep: int = 0
    published: int = 0
    late: int = 0
    seen: dict[bytes, int] = field(default_factory=dict)
    runs: dict[str, RunSummary] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    undated: int = 0
    is_new: bool = True

    def new(self, items: Sequence[Item], position: Position, *, proven: bool) -> list[Item]:
        """Return those of `items` that a batch which moves to `position` writes, each once.

        With proven=True digests may be expired: an audit has looked at what is published.
        """
        oldest = BEGINNING if proven else max(position.oldest, self.position.oldest)
        seen, chosen = self.seen, dict[bytes, Item]()
        for item in items:
            if item.at >= oldest and item.digest not in seen:
                chosen.setdefault(item.digest, item)
        return list(chosen.values())

    def newest(self, run_id: str, runs: Mapping[str, RunSummary | None]) -> Micros:
        """Return the time of a run's newest published event; `runs` replaces summaries."""
        return self._summary(short_run(run_id), runs).newest

    def plan(
        self,
        new: Sequence[Item],
        fresh: Sequence[Fresh],
        position: Position,
        *,
        server_time: Micros,
        keep: Micros,
        sweep: int = 0,
        runs: Mapping[str, RunSummary | None] | None = None,
        configured: Configured | None = None,
    ) -> Batch:
        """Decide what the checkpoint becomes with the `new` items, of which `fresh` are published.

        Those that are not published are only remembered. `keep` is the oldest time that a sweep may
        still read: digests below it expire, but for events dated beyond the server's time, which
        the feed goes on to show, and for those without a time, which take that of any neighbour:
        they are carried into the new segment. `runs` replaces summaries, before the items are added
        to them. `configured` is what is told from now on.
        """
        kept_from = self.position.kept_from
        if kept_from is not None:
            # A climb begins below the frontier: what expired before must not be published again.
            keep = max(keep, kept_from)
        expired = self._expired(keep)
        entries = [
            one
            for number in expired
            for one in self.segments[number].unpack()
            if one.at >= keep and (one.at != UNDATED or self.undated <= MOST_UNDATED)
        ]
        entries += [
            SegmentEntry(one.digest, one.at if one.is_dated else UNDATED, one.checksum)
            for one in new
        ]
        position = replace(position, kept_from=keep if expired else kept_from)
        changed = dict(runs or {})
        reopened = self._count(fresh, position.counted_from, changed)
        segment = self._segment(entries, max(server_time, keep))
        number = max(sweep, self.sweep)
        said = configured or self.configured
        return Batch(list(fresh), position, segment, expired, changed, reopened, number, said)

    def apply(self, batch: Batch) -> None:
        """Take over a batch that is committed."""
        for number in batch.expired:
            for one in self.segments.pop(number).unpack():
                self.seen.pop(one.digest, None)
                self.undated -= one.at == UNDATED
        if batch.segment is not None:
            self.remember(batch.segment)
        for run, summary in batch.runs.items():
            if summary is None:
                self.runs.pop(run, None)
            else:
                self.runs[run] = summary
        self.position = batch.position
        self.sweep = batch.sweep
        self.configured = batch.configured
        self.published += len(batch.fresh)
        self.late += batch.late
        self.is_new = False

    def remember(self, segment: Segment) -> None:
        """Take in a committed segment, the newest or (reading back) the next."""
        self.segments[segment.batch] = segment
        for one in segment.unpack():
            self.seen[one.digest] = one.checksum
            self.undated += one.at == UNDATED
        self.batch, self.chain = segment.batch, segment.chain

    def changed(self, items: Sequence[Item]) -> list[Item]:
        """Return those of `items` that were published with another content."""
        return [
            item
            for item in items
            if item.checksum and self.seen.get(item.digest, 0) not in (0, item.checksum)
        ]

    def live(self, batch: Batch) -> tuple[int, int]:
        """Return how many segments are live after `batch`, and the XOR of their chain hashes."""
        expired = set(batch.expired)
        chains = [s.chain for number, s in self.segments.items() if number not in expired]
        if batch.segment is not None:
            chains.append(batch.segment.chain)
        return len(chains), fold(chains)

    def _count(
        self,
        fresh: Sequence[Fresh],
        counted_from: Micros,
        runs: dict[str, RunSummary | None],
    ) -> list[str]:
        """Add events to the summaries in `runs`; return the runs that are open again.

        A dead letter makes no other event late, but counts for its run.
        """
        reopened: list[str] = []
        of_run: dict[str, list[Fresh]] = {}
        for one in fresh:
            of_run.setdefault(one.item.run_id, []).append(one)
        of_run.pop("", None)  # what is no event belongs to no run
        for run_id, added in of_run.items():
            run = short_run(run_id)
            summary = self._summary(run, runs)
            if summary.stage in ("sealed", "closed"):
                reopened.append(run)
            newest = max((one.item.at for one in added if one.is_event), default=BEGINNING)
            runs[run] = summary.with_events([one.item for one in added], newest, counted_from)
        return reopened

    def _summary(self, run: str, runs: Mapping[str, RunSummary | None]) -> RunSummary:
        return (runs[run] if run in runs else self.runs.get(run)) or RunSummary()

    def _expired(self, keep: Micros) -> list[int]:
        """Name segments, oldest first, that no sweep can reach any more."""
        expired = [number for number, segment in self.segments.items() if segment.settled < keep]
        return expired[:EXPIRE_AT_ONCE]

    def _segment(self, entries: list[SegmentEntry], latest: Micros) -> Segment | None:
        """Pack a segment that may expire when sweeps begin above `latest`, whatever it holds."""
        if not entries:
            return None
        settled = min(max(one.at for one in entries), latest)
        return Segment.pack(self.chain, self.batch + 1, entries, settled)
