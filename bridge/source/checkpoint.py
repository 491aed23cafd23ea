"""What a source has published, as records that ride in the same transaction as its events.

Three kinds of record, all on one partition of the checkpoint topic: the *frontier* (the position),
one *segment* per batch (digests of its events), and *claims* (see `owner.py`). Read back, they
give the state that the next batch is decided by. Pure code: it folds records in, plans a batch,
and applies it after it is committed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bridge.clock import Micros
from bridge.errors import StateError
from bridge.source.segment import ENTRY, Segment, short_run
from bridge.source.sweep import BEGINNING, Item

VERSION: Final = 1
NO_CHAIN: Final = bytes(16)
EXPIRE_AT_ONCE: Final = 200
"""Tombstones a transaction at most."""


@dataclass(frozen=True, slots=True)
class Climb:
    """A backlog that is being read from its old end up."""

    low: Micros
    began: Micros


@dataclass(frozen=True, slots=True)
class Position:
    """Where a source stands; `floor` is where it was told to start, None for everything.

    Digests are kept from `kept_from` on: nothing older may be published, as nobody could tell
    whether it was before.
    """

    frontier: Micros | None = None
    floor: Micros | None = None
    climb: Climb | None = None
    kept_from: Micros | None = None

    @property
    def oldest(self) -> Micros:
        """Events older than this are not published."""
        return max(one for one in (self.floor, self.kept_from, BEGINNING) if one is not None)


@dataclass(frozen=True, slots=True)
class Fresh:
    """An event that is to be published; `late` if a later one of its run was published before."""

    item: Item
    late: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction publishes and how it changes the checkpoint."""

    fresh: list[Fresh]
    position: Position
    segment: Segment | None
    expired: list[int]
    carried: dict[bytes, Micros]

    @property
    def late(self) -> int:
        """How many of the events are late."""
        return sum(1 for one in self.fresh if one.late)


@dataclass(slots=True)
class Checkpoint:
    """The state of one source, as its records say."""

    source: str
    feed: str
    position: Position = field(default_factory=Position)
    batch: int = 0
    chain: bytes = NO_CHAIN
    published: int = 0
    late: int = 0
    seen: dict[bytes, Micros] = field(default_factory=dict)
    newest: dict[str, tuple[Micros, int]] = field(default_factory=dict)
    """By run: its newest event, and the last segment that has events of it."""
    segments: dict[int, Segment] = field(default_factory=dict)
    is_new: bool = True

    def plan(
        self,
        items: Sequence[Item],
        position: Position,
        *,
        server_time: Micros,
        keep: Micros,
        publish: bool = True,
    ) -> Batch:
        """Decide what is new among `items` (oldest first) and what the checkpoint becomes.

        `keep` is the oldest time that a sweep may still read: digests below it expire, but for
        events dated beyond the server's time, which the feed goes on to show: they are carried
        into the new segment, as are their runs. With publish=False the items are only remembered.
        """
        oldest = max(position.oldest, self.position.oldest)
        kept_from = self.position.kept_from
        if kept_from is not None:
            # A climb begins below the frontier: what expired before must not be published again.
            keep = max(keep, kept_from)
        expired = self._expired(keep)
        gone = [self.segments[number] for number in expired]
        carried = {one: at for segment in gone for one, at in segment.unpack() if at >= keep}
        runs = {
            run: self.newest[run][0]
            for segment in gone
            for run in segment.runs
            if self.newest[run][0] >= keep
        }
        fresh: list[Fresh] = []
        entries = dict(carried)
        for item in items:
            if item.at < oldest or item.digest in self.seen or item.digest in entries:
                continue
            entries[item.digest] = item.at
            if publish:
                run = short_run(item.run_id)
                before = runs.get(run, self._newest(run))
                fresh.append(Fresh(item, late=before > item.at))
                runs[run] = max(before, item.at)
        position = replace(position, kept_from=keep if expired else kept_from)
        return Batch(fresh, position, self._segment(entries, runs, server_time), expired, carried)

    def apply(self, batch: Batch) -> None:
        """Take over a batch that is committed."""
        for number in batch.expired:
            self._forget(self.segments.pop(number), batch.carried)
        if batch.segment is not None:
            self._remember(batch.segment)
        self.position = batch.position
        self.published += len(batch.fresh)
        self.late += batch.late
        self.is_new = False

    def records(self, batch: Batch) -> list[tuple[str, dict[str, Any] | None]]:
        """Return the keys and values that make `batch` durable; the frontier comes last."""
        records: list[tuple[str, dict[str, Any] | None]] = [
            (f"seg/{self.source}/{number}", None) for number in batch.expired
        ]
        segment = batch.segment
        if segment is not None:
            records.append((f"seg/{self.source}/{segment.batch}", _segment_value(segment)))
        live = [n for n in self.segments if n not in batch.expired]
        newest = self.batch if segment is None else segment.batch
        frontier = {
            "feed": self.feed,
            "batch": newest,
            "live": min(live, default=self.batch + 1),
            "chain": self.chain if segment is None else segment.chain,
            **_position_value(batch.position),
            "published": self.published + len(batch.fresh),
            "late": self.late + batch.late,
        }
        records.append((f"frontier/{self.source}", _value("Frontier", frontier)))
        return records

    def _newest(self, run: str) -> Micros:
        return self.newest[run][0] if run in self.newest else BEGINNING

    def _expired(self, keep: Micros) -> list[int]:
        """Name the oldest segments, in order, that no sweep can reach any more."""
        expired: list[int] = []
        for number in sorted(self.segments):
            if self.segments[number].settled >= keep or len(expired) == EXPIRE_AT_ONCE:
                break
            expired.append(number)
        return expired

    def _segment(
        self, entries: dict[bytes, Micros], runs: dict[str, Micros], server_time: Micros
    ) -> Segment | None:
        if not entries:
            return None
        batch = self.batch + 1
        packed = b"".join(ENTRY.pack(one, at) for one, at in entries.items())
        settled = min(max(entries.values()), server_time)
        chain = Segment.link(self.chain, batch, packed, runs)
        return Segment(batch, packed, settled, runs, self.chain, chain)

    def take(self, segment: Segment, *, first: bool) -> None:
        """Remember the next segment when reading back; raises StateError if it does not follow."""
        if not first and segment.previous != self.chain:
            before = segment.batch - 1
            raise StateError(misfit(self.source, f"segment {segment.batch} follows no {before}"))
        self._remember(segment)

    def _remember(self, segment: Segment) -> None:
        self.segments[segment.batch] = segment
        self.seen.update(segment.unpack())
        for run, newest in segment.runs.items():
            self.newest[run] = newest, segment.batch
        self.batch, self.chain = segment.batch, segment.chain

    def _forget(self, segment: Segment, carried: dict[bytes, Micros]) -> None:
        for one, _ in segment.unpack():
            if one not in carried:
                self.seen.pop(one, None)
        for run in segment.runs:
            if self.newest[run][1] == segment.batch:
                del self.newest[run]


def concerns(source: str, key: str) -> bool:
    """Whether a record of the checkpoint partition belongs to this source."""
    kind, _, rest = key.partition("/")
    return rest == source if kind == "frontier" else rest.rpartition("/")[0] == source


def read_back(source: str, feed: str, live: Mapping[str, dict[str, Any]]) -> Checkpoint:
    """Return the state that the newest records of one source (by key, tombstones gone) stand for.

    Raises StateError where they do not fit together: another feed's, a newer version's, a segment
    that is missing or altered, or one that is newer than the frontier.
    """
    frontier = live.get(f"frontier/{source}")
    checkpoint = Checkpoint(source, feed)
    if frontier is None:
        if any(key.startswith("seg/") for key in live):
            raise StateError(misfit(source, "it has segments and no frontier"))
        return checkpoint
    if frontier["version"] > VERSION:
        raise StateError(
            f"the checkpoint of source {source} was written by a newer bridge (state version "
            f"{frontier['version']}, this one reads up to {VERSION}): run that version or a later"
        )
    kind, body = frontier["body"]
    if not kind.endswith(".Frontier"):
        raise StateError(misfit(source, "the record of its frontier holds something else"))
    if body["feed"] != feed:
        raise StateError(
            f"the checkpoint of source {source} belongs to another feed: use another "
            "BRIDGE_SOURCE__NAME, or another BRIDGE_KAFKA__TOPIC_PREFIX, for this one"
        )
    if f"seg/{source}/{body['batch'] + 1}" in live:
        raise StateError(misfit(source, f"its frontier is older than segment {body['batch'] + 1}"))
    for number in range(body["live"], body["batch"] + 1):
        checkpoint.take(_segment_of(source, number, live), first=number == body["live"])
    if checkpoint.segments and checkpoint.chain != body["chain"]:
        raise StateError(misfit(source, f"segment {body['batch']} is not the newest"))
    climb = body["climb"]
    checkpoint.position = Position(
        body["frontier"],
        body["floor"],
        climb and Climb(BEGINNING if climb["low"] is None else climb["low"], climb["began"]),
        body["kept_from"],
    )
    checkpoint.batch, checkpoint.chain = body["batch"], body["chain"]
    checkpoint.published, checkpoint.late = body["published"], body["late"]
    checkpoint.is_new = False
    return checkpoint


def _segment_of(source: str, number: int, live: Mapping[str, dict[str, Any]]) -> Segment:
    value = live.get(f"seg/{source}/{number}")
    if value is None:
        raise StateError(misfit(source, f"segment {number} is missing"))
    kind, body = value["body"]
    if not kind.endswith(".Segment"):
        raise StateError(misfit(source, f"the record of segment {number} holds something else"))
    runs = {run["run_id"]: run["newest"] for run in body["runs"]}
    entries = body["entries"]
    sound = Segment.link(body["previous"], number, entries, runs) == body["chain"]
    if not sound or len(entries) % ENTRY.size:
        raise StateError(misfit(source, f"segment {number} was altered"))
    return Segment(number, entries, body["settled"], runs, body["previous"], body["chain"])


def claim_record(owner: str, at: Micros) -> dict[str, Any]:
    """Return the value of a claim."""
    return _value("Claim", {"owner": owner, "at": at})


def misfit(source: str, what: str) -> str:
    """Return the message for a checkpoint that was damaged; `what` says where it shows."""
    return (
        f"the checkpoint of source {source} does not fit together: {what}. Nothing was read or "
        "written. Records of the topic were lost or altered: see docs/OPERATIONS.md, "
        "'The checkpoint is refused'"
    )


def _value(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "body": (f"missionbridge.v1.{name}", body)}


def _segment_value(segment: Segment) -> dict[str, Any]:
    runs = [{"run_id": run_id, "newest": newest} for run_id, newest in segment.runs.items()]
    return _value(
        "Segment",
        {
            "batch": segment.batch,
            "entries": segment.entries,
            "settled": segment.settled,
            "runs": runs,
            "previous": segment.previous,
            "chain": segment.chain,
        },
    )


def _position_value(position: Position) -> dict[str, Any]:
    climb = position.climb
    if climb is None:
        value = None
    else:
        low = None if climb.low == BEGINNING else climb.low
        value = {"low": low, "began": climb.began}
    return {
        "frontier": position.frontier,
        "floor": position.floor,
        "climb": value,
        "kept_from": position.kept_from,
    }
