"""What a source says about its own work: the bodies of records on the audit topic. Pure.

Each is written in the transaction that it speaks of, so it is true or it is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bridge.clock import Micros
from bridge.missions.models import Event
from bridge.source.checkpoint.gaps import EVER
from bridge.source.checkpoint.position import Hole
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.checkpoint.state import Batch, Checkpoint
from bridge.source.reading.windows import BEGINNING, Item, Link

PassKind = Literal["shallow", "deep", "climb", "runs"]


@dataclass(frozen=True, slots=True)
class Proof:
    """What was read for a transaction, and what that proves.

    `stop` is the time that the pass had to read down to, `lateness` the window in use.
    """

    kind: PassKind
    number: int
    server_time: Micros
    stop: Micros
    lateness: Micros
    complete: bool = False
    is_sorted: bool = True
    links: Sequence[Link] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A record of the audit topic that is still without its transaction; `about` is its key."""

    about: str
    kind: str
    body: dict[str, Any]


def record(
    state: Checkpoint, batch: Batch, finding: Finding, lateness: Micros, now: Micros
) -> dict[str, Any]:
    """Return the AuditRecord of a finding, given the batch that is committed with it."""
    return {
        "source": state.source,
        "at": now,
        "batch": state.batch if batch.segment is None else batch.segment.batch,
        "complete_until": batch.position.complete_until(lateness),
        "kind": finding.kind,
        **finding.body,
    }


def swept(state: Checkpoint, batch: Batch, proof: Proof) -> Finding:
    """Return the certificate of a sweep, or of the part of it that `batch` publishes."""
    climb = batch.position.climb
    body = {
        "number": proof.number,
        "pass": proof.kind,
        "server_time": proof.server_time,
        "stop": None if proof.stop == BEGINNING else proof.stop,
        "frontier": batch.position.frontier,
        "climb_low": None if climb is None or climb.low == BEGINNING else climb.low,
        "climb_began": None if climb is None else climb.began,
        "lateness": proof.lateness,
        "complete": proof.complete,
        "sorted": proof.is_sorted,
        "windows": [
            {
                "page": link.ask.page,
                "size": link.ask.size,
                "items": link.count,
                "newest": link.newest,
                "oldest": link.oldest,
                "link": link.tie,
            }
            for link in proof.links
        ],
        "published": len(batch.fresh),
        "late": batch.late,
    }
    return Finding(state.source, "sweep", {"sweep": body})


def gap(source: str, hole: Hole) -> Finding:
    """Say that events may be missing."""
    return Finding(source, "gap", {"gap": _stretch(hole)})


def gap_closed(source: str, hole: Hole, *, found: int, runs: int, unread: int) -> Finding:
    """Say what looking for missing events in the runs' lists has found."""
    counts = {"found": found, "runs": runs, "unread": unread}
    return Finding(source, "gap_closed", {"gap": _stretch(hole) | counts})


def _stretch(hole: Hole) -> dict[str, Micros | None]:
    since = None if hole.low == EVER else hole.low
    return {"low": hole.low, "since": since, "high": hole.high}


def mutated(item: Item) -> Finding:
    """Say that an event came again with other content."""
    row = item.row
    event_id = row.event_id if isinstance(row, Event) else ""
    return Finding(item.run_id, "mutated", {"event": {"run_id": item.run_id, "event_id": event_id}})


def seal(
    kind: Literal["sealed", "unsealed"],
    run_id: str,
    summary: RunSummary,
    *,
    status: str,
    since: Micros | None,
) -> Finding:
    """Say that a finished run is complete, or is so no longer; `since`: older is not counted."""
    body = {
        "run_id": run_id,
        "mission_id": summary.mission_id or "",
        "status": status,
        "finished_at": summary.finished,
        "count": summary.count or 0,
        "digest": f"{summary.digest:032x}",
        "first": summary.first,
        "last": None if summary.newest == BEGINNING else summary.newest,
        "since": since,
    }
    return Finding(run_id, kind, {"run": body})
