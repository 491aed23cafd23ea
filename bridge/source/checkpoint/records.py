"""The checkpoint as records, which ride in the same transaction as the events they speak of.

All are on one partition of the checkpoint topic: the *frontier* (the position), one *segment* per
batch (digests of its events), one summary per run that is not closed, and *claims* (see
`owner.py`). Read back, they give the state again, or are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import reduce
from itertools import islice, pairwise
from operator import xor
from typing import Any, Final, get_args

from bridge.clock import Micros
from bridge.errors import Damaged, StateError
from bridge.source.checkpoint.gaps import EVER
from bridge.source.checkpoint.position import Climb, Configured, Hole, Late, Position
from bridge.source.checkpoint.runs import Listing, RunSummary, Stage
from bridge.source.checkpoint.segment import Segment
from bridge.source.checkpoint.state import Batch, Checkpoint
from bridge.source.reading.windows import BEGINNING

VERSION: Final = 2
"""What is written; the version before is read as well."""

_NONE: Final[Micros] = 0
"""Stands for no event at all in a summary: a time that every reader of Avro can show."""

Record = tuple[str, dict[str, Any] | None]
"""Key and value; a value of None deletes."""


def concerns(source: str, key: str) -> bool:
    """Whether a record of the checkpoint partition belongs to this source."""
    kind, _, rest = key.partition("/")
    if kind == "frontier":
        return rest == source
    return kind in {"seg", "run", "claim"} and "/" in rest and rest.partition("/")[0] == source


def records(state: Checkpoint, batch: Batch) -> list[Record]:
    """Return the records that make `batch` durable; the frontier comes last."""
    name = state.source
    made: list[Record] = [(f"seg/{name}/{number}", None) for number in batch.expired]
    if batch.segment is not None:
        made.append(segment_record(name, batch.segment))
    for run, summary in batch.runs.items():
        made.append((f"run/{name}/{run}", None if summary is None else _run_value(run, summary)))
    made.append((f"frontier/{name}", _frontier_value(state, batch)))
    return made


def whole(state: Checkpoint) -> tuple[Record, list[Record]]:
    """Return a state as records: its frontier, and everything that the frontier speaks of."""
    name = state.source
    unchanged = Batch([], state.position, None, [], {}, [], state.sweep, state.configured)
    rest = [segment_record(name, segment) for segment in state.segments.values()]
    rest += [(f"run/{name}/{run}", _run_value(run, one)) for run, one in state.runs.items()]
    return (f"frontier/{name}", _frontier_value(state, unchanged)), rest


def segment_record(source: str, segment: Segment) -> Record:
    """Return the record of a segment."""
    return f"seg/{source}/{segment.batch}", _segment_value(segment)


def claim_record(owner: str, at: Micros) -> dict[str, Any]:
    """Return the value of a claim."""
    return _value("Claim", {"owner": owner, "at": at})


def read_back(
    source: str, feed: str, live: Mapping[str, dict[str, Any]], account: str | None = None
) -> Checkpoint:
    """Return the state that the newest records of one source (by key, tombstones gone) stand for.

    Raises Damaged where they do not fit together: a newer version's, a segment that is missing or
    altered, or one that is newer than the frontier. Raises StateError for another feed's.
    """
    frontier = live.get(f"frontier/{source}")
    if frontier is None:
        if any(key.startswith("seg/") for key in live):
            raise Damaged(misfit(source, "it has segments and no frontier"))
        return Checkpoint(source, feed)
    state = read_frontier(source, feed, frontier, account)
    body = frontier["body"][1]
    segments = _segments(source, live)
    for segment in segments:
        if segment.batch > body["batch"]:
            raise Damaged(misfit(source, f"its frontier is older than segment {segment.batch}"))
        state.remember(segment)
    _check(source, body, segments)
    for key, value in live.items():
        if key.startswith("run/"):
            state.runs.update(_summaries(source, key, value))
    _carry_runs_of_version_1(state)
    state.batch, state.chain = body["batch"], body["chain"]
    return state


def read_frontier(
    source: str, feed: str, value: Mapping[str, Any], account: str | None = None
) -> Checkpoint:
    """Return what a frontier record says by itself: a state without segments and runs.

    The same `account` is the same feed, at whatever address; None: the API does not show it.

    Raises StateError for one of another feed, Damaged for one of another version and for a record
    that is no frontier.
    """
    body = _body(source, "its frontier", value, "Frontier")
    if body["feed"] != feed and (account is None or body["account"] != account):
        raise StateError(
            f"the checkpoint of source {source} belongs to another feed: it was written with "
            "another TELNYX_BASE_URL, and nothing shows that the account is the same. If it is, "
            "`mission-bridge offsets move` takes the checkpoint over to the address that is set "
            "now; if not, go back to the old one. Another BRIDGE_SOURCE__NAME, or `mission-bridge "
            "offsets reset`, would publish everything again"
        )
    return Checkpoint(
        source,
        feed,
        account=body["account"],
        partitions=_partitions(body),
        configured=body["configured"] and Configured(**body["configured"]),
        position=_position(body),
        batch=body["batch"],
        chain=body["chain"],
        sweep=body["sweeps"],
        published=body["published"],
        late=body["late"],
        is_new=False,
    )


def misfit(source: str, what: str) -> str:
    """Return the message for a checkpoint that was damaged; `what` says where it shows."""
    return (
        f"the checkpoint of source {source} does not fit together: {what}. Nothing was read or "
        "written. Records of the topic were lost or altered: `mission-bridge repair` rebuilds it, "
        "see docs/OPERATIONS.md, 'The checkpoint is refused'"
    )


def _segments(source: str, live: Mapping[str, dict[str, Any]]) -> list[Segment]:
    """Return the segments in order; raises Damaged for one that was altered."""
    segments: list[Segment] = []
    for key, value in live.items():
        if not key.startswith("seg/"):
            continue
        number = key.rpartition("/")[2]
        body = _body(source, f"segment {number}", value, "Segment")
        runs = {run["run_id"]: run["newest"] for run in body["runs"]}
        segment = Segment(
            body["batch"],
            body["entries"],
            body["settled"],
            body["previous"],
            body["chain"],
            value["version"],
            runs,
            body["content"],
        )
        if str(segment.batch) != number or not segment.is_sound:
            raise Damaged(misfit(source, f"segment {number} was altered"))
        segments.append(segment)
    return sorted(segments, key=lambda segment: segment.batch)


def _check(source: str, frontier: dict[str, Any], segments: list[Segment]) -> None:
    """Raise Damaged unless these are all segments that the frontier speaks of."""
    count = frontier["live_count"]
    if count is None:  # version 1: live..batch
        count = frontier["batch"] - frontier["live"] + 1
    if len(segments) != count:
        what = f"{len(segments)} segments are there instead of {count}"
        numbers = {segment.batch for segment in segments}
        first = min(numbers, default=frontier["live"])
        missing = (n for n in range(first, frontier["batch"] + 1) if n not in numbers)
        raise Damaged(misfit(source, f"{what}; not there: {_some(missing)}"))
    for before, after in pairwise(segments):
        if after.batch == before.batch + 1 and after.previous != before.chain:
            raise StateError(
                misfit(source, f"segment {after.batch} does not follow {before.batch}")
            )
    folded = reduce(xor, (int.from_bytes(one.chain, "big") for one in segments), 0)
    there = frontier["live_xor"]
    if there is not None and there != folded.to_bytes(16, "big"):
        raise Damaged(misfit(source, "a segment is of another history"))
    newest = segments and segments[-1].batch == frontier["batch"]
    if newest and segments[-1].chain != frontier["chain"]:
        raise Damaged(misfit(source, f"segment {frontier['batch']} is not the newest"))


def _some(numbers: Iterable[int]) -> str:
    first = [str(number) for number in islice(numbers, 6)]
    shown = ", ".join(first[:5])
    return f"{shown}, ..." if len(first) > 5 else shown or "none of those known"


def _summaries(source: str, key: str, value: dict[str, Any]) -> dict[str, RunSummary]:
    body = _body(source, f"the record {key}", value, "Segment")
    if any(run["stage"] not in get_args(Stage) for run in body["runs"]):
        raise Damaged(misfit(source, f"the record {key} names no stage of a run"))
    return {run["run_id"]: _summary(run) for run in body["runs"]}


def _summary(run: dict[str, Any]) -> RunSummary:
    listed = None
    if run["listed_at"] is not None:
        listed = Listing(run["listed_count"], _number(run["listed_digest"]), run["listed_at"])
    return RunSummary(
        BEGINNING if run["newest"] == _NONE else run["newest"],
        run["first"],
        run["count"],
        _number(run["digest"]),
        run["mission_id"] and sys.intern(run["mission_id"]),
        run["finished"],
        listed,
        run["stage"],
    )


def _carry_runs_of_version_1(state: Checkpoint) -> None:
    """Take the newest timestamps out of old segments; how many events a run has is not known."""
    for segment in state.segments.values():
        for run, newest in segment.runs.items():
            known = state.runs.get(run, RunSummary(count=None))
            state.runs[run] = replace(known, newest=max(known.newest, newest))


def _body(source: str, what: str, value: Mapping[str, Any], name: str) -> dict[str, Any]:
    if value["version"] > VERSION:
        raise Damaged(
            f"the checkpoint of source {source} was written by a newer bridge (state version "
            f"{value['version']}, this one reads up to {VERSION}): run that version or a later"
        )
    if value["version"] < VERSION - 1:
        raise Damaged(
            f"the checkpoint of source {source} was written by a much older bridge (state version "
            f"{value['version']}, this one reads {VERSION - 1} and {VERSION}): run a version in "
            "between first"
        )
    kind, body = value["body"]
    if not kind.endswith(f".{name}"):
        raise Damaged(misfit(source, f"{what} holds something else"))
    found: dict[str, Any] = body
    return found


def _partitions(body: dict[str, Any]) -> tuple[int, int] | None:
    events = body["event_partitions"]
    return None if events is None else (events, body["checkpoint_partitions"])


def _position(body: dict[str, Any]) -> Position:
    climb, hole = body["climb"], body["hole"]
    late = body["worst_late"]
    return Position(
        frontier=body["frontier"],
        floor=body["floor"],
        climb=climb and _climb(climb),
        kept_from=body["kept_from"],
        audit_floor=body["audit_floor"],
        runs_until=body["runs_until"],
        worst_late=None if late is None else Late(late, body["worst_late_at"]),
        # Earlier versions wrote BEGINNING as it is.
        hole=hole and Hole(EVER if hole["low"] == BEGINNING else hole["low"], hole["high"]),
        bottom=body["bottom"],
    )


def _climb(body: dict[str, Any]) -> Climb:
    low, until = (BEGINNING if body[name] is None else body[name] for name in ("low", "until"))
    return Climb(low, body["began"], until)


def _value(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "body": (f"missionbridge.v1.{name}", body)}


def _segment_value(segment: Segment) -> dict[str, Any]:
    fields = {
        "batch": segment.batch,
        "entries": segment.entries,
        "settled": segment.settled,
        "runs": [],
        "previous": segment.previous,
        "chain": segment.chain,
        "content": segment.content,
    }
    return _value("Segment", fields)


def _run_value(run_id: str, summary: RunSummary) -> dict[str, Any]:
    listed = summary.listed
    newest = _NONE if summary.newest == BEGINNING else summary.newest
    run = {
        "run_id": run_id,
        "newest": newest,
        "first": summary.first,
        "count": summary.count,
        "digest": summary.digest.to_bytes(16, "big"),
        "mission_id": summary.mission_id,
        "finished": summary.finished,
        "listed_at": listed and listed.at,
        "listed_count": 0 if listed is None else listed.count,
        "listed_digest": None if listed is None else listed.digest.to_bytes(16, "big"),
        "stage": summary.stage,
    }
    fields = {"batch": 0, "entries": b"", "settled": newest, "runs": [run]}
    return _value("Segment", {**fields, "previous": b"", "chain": b""})


def _frontier_value(state: Checkpoint, batch: Batch) -> dict[str, Any]:
    position, segment = batch.position, batch.segment
    count, folded = state.live(batch)
    climb, hole, late = position.climb, position.hole, position.worst_late
    fields = {
        "feed": state.feed,
        "batch": state.batch if segment is None else segment.batch,
        "live": min((n for n in state.segments if n not in batch.expired), default=state.batch + 1),
        "chain": state.chain if segment is None else segment.chain,
        "frontier": position.frontier,
        "floor": position.floor,
        "climb": climb
        and {
            "low": None if climb.low == BEGINNING else climb.low,
            "began": climb.began,
            "until": None if climb.until == BEGINNING else climb.until,
        },
        "kept_from": position.kept_from,
        "published": state.published + len(batch.fresh),
        "late": state.late + batch.late,
        "account": state.account,
        "live_count": count,
        "live_xor": folded.to_bytes(16, "big"),
        "sweeps": batch.sweep,
        "audit_floor": position.audit_floor,
        "runs_until": position.runs_until,
        "worst_late": late and late.by,
        "worst_late_at": late and late.at,
        "hole": hole and {"low": hole.low, "high": hole.high},
        "bottom": position.bottom,
        "event_partitions": state.partitions and state.partitions[0],
        "checkpoint_partitions": state.partitions and state.partitions[1],
        "configured": batch.configured and asdict(batch.configured),
    }
    return _value("Frontier", fields)


def _number(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "big")
