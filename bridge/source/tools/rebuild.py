"""The state of a source, made anew from what it wrote beside its checkpoint. Pure.

Events and dead letters say what is published, certificates say how far the source had come. Both
were written in the same transactions as the checkpoint that is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bridge.clock import Micros
from bridge.source.checkpoint import lateness
from bridge.source.checkpoint.position import Climb, Hole, Late, Position
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.checkpoint.segment import UNDATED, Segment, SegmentEntry
from bridge.source.checkpoint.state import NO_CHAIN, Checkpoint
from bridge.source.identity import short_run
from bridge.source.reading.windows import BEGINNING, Item
from bridge.source.tools.stored_event import StoredEvent

SEGMENT_ENTRIES: Final = 8000
"""Events in one segment, as in the largest transaction that a source writes."""


@dataclass(slots=True)
class Certificates:
    """What the audit topic says of a source: its newest certificate, and its first one."""

    newest: Mapping[str, Any] | None = None
    first: Mapping[str, Any] | None = None

    def take(self, record: Mapping[str, Any]) -> None:
        """Take the next record about the source."""
        if record["kind"] == "sweep":
            self.newest = record
            self.first = self.first or record


@dataclass(slots=True)
class RebuiltState:
    """What the topics say of a source: its events as digests, and its runs.

    Digests are held of events at or above `known_from`, runs count those at or above
    `counted_from`. `reaches_back` has, by topic and partition, since when there are records where
    retention has deleted older ones.
    """

    known_from: Micros
    counted_from: Micros
    entries: dict[bytes, SegmentEntry] = field(default_factory=dict)
    runs: dict[str, RunSummary] = field(default_factory=lambda: defaultdict(RunSummary))
    oldest: Micros | None = None
    count: int = 0
    late: int = 0
    reaches_back: dict[tuple[str, int], Micros] = field(default_factory=dict)

    def take(self, kept: StoredEvent) -> None:
        """Take an event of the source as its record, or its dead letter, has it."""
        if kept.digest in self.entries:
            return
        # Of a dead letter without a time it is only known that it happened before it was written.
        at = kept.written if kept.at is None else kept.at
        if at >= self.known_from:
            expires = UNDATED if kept.at is None else at
            self.entries[kept.digest] = SegmentEntry(kept.digest, expires, 0)
        self.oldest = at if self.oldest is None else min(self.oldest, at)
        self.count += 1
        self.late += kept.fields is not None and kept.fields["late"]
        if kept.run_id:
            self._count(kept, at)

    def _count(self, kept: StoredEvent, at: Micros) -> None:
        """Add an event to its run."""
        run, record = short_run(kept.run_id), kept.record
        before = self.runs[run]
        item = Item(at, kept.digest, kept.run_id, None)
        newest = BEGINNING if kept.fields is None else at  # a dead letter makes nothing late
        after = before.with_events([item], newest, self.counted_from)
        if kept.at is None:
            after = replace(after, first=before.first)
        if kept.fields is not None and kept.fields["mission_id"] is not None:
            after = replace(after, mission_id=kept.fields["mission_id"])
        if (record.topic, record.partition) in self.reaches_back:
            after = replace(after, count=None)
        self.runs[run] = after


def position(
    certificates: Certificates, frontier: Checkpoint | None, began: Micros | None
) -> Position:
    """Return where the source stands, as far as its own records say; `frontier` if it is readable.

    The newest certificate has the frontier and the climb of its transaction, and an older one is
    only lower, which costs requests and nothing else. What was published is known from the topic.
    `began`: the source publishes nothing older, None: everything. Without any record of a position
    all is read again.
    """
    if frontier is None:
        # Whether the past was whole is not known either: every run is looked at once more.
        before = Position(hole=Hole(0 if began is None else began, None))
    else:
        before = frontier.position
        began = before.audit_floor
    # What was there before the source began, and was remembered as such, is not on the topic.
    floor = before.floor if began is None else began
    before = replace(before, floor=floor, audit_floor=began, kept_from=None, runs_until=None)
    if certificates.newest is None:
        return before
    sweep = certificates.newest["sweep"]
    low, climb_began = sweep["climb_low"], sweep["climb_began"]
    climb = None
    if climb_began is not None:
        climb = Climb(BEGINNING if low is None else low, climb_began, climb_began)
        if before.climb is not None and before.climb.began == climb_began:
            climb = replace(before.climb, low=climb.low)
    # As late as the window was wide for, so that it stays as wide.
    late = Late(-(-sweep["lateness"] // lateness.MARGIN), certificates.newest["at"])
    worst = before.worst_late or late
    return replace(before, frontier=sweep["frontier"], climb=climb, worst_late=worst)


def rebuild(
    state: Checkpoint, stands: Position, published: RebuiltState, *, keep: Micros, now: Micros
) -> Checkpoint:
    """Return the state of a source that stands at `stands` and has published `published`.

    `state` is what is still known beside that: names, and the numbers that its successor goes on
    from. `keep` is the lateness cap.
    """
    known_from = max(stands.oldest_read(keep), *published.reaches_back.values(), BEGINNING)
    if known_from > BEGINNING:
        stands = replace(stands, kept_from=known_from)
    made = replace(
        state,
        position=stands,
        chain=NO_CHAIN,
        published=max(state.published, published.count),
        late=max(state.late, published.late),
        runs=dict(published.runs),
        seen={},
        segments={},
        undated=0,
        is_new=False,
    )
    entries = sorted(published.entries.values(), key=lambda one: one.at)
    entries = [one for one in entries if one.at >= known_from]
    for begin in range(0, len(entries), SEGMENT_ENTRIES):
        part = entries[begin : begin + SEGMENT_ENTRIES]
        made.remember(Segment.pack(made.chain, made.batch + 1, part, min(part[-1].at, now)))
    return made
