"""Whether what the source says of its own work, on the audit topic, is true."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from bridge.clock import Micros
from bridge.dev.api.feed import SimulatedEvent
from bridge.source.checkpoint.runs import fold
from bridge.source.writing.headers import digest_of, headers_of
from simulation.brokers import Written

Name = tuple[str, str]
"""A run and an event of it."""


@dataclass(frozen=True, slots=True)
class Told:
    """One record of the audit topic, and the call of the writer that it came with."""

    commit: int
    record: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.record["kind"])


def count_up(told: Sequence[Told], published: int) -> Iterator[str]:
    """The certificates of all sweeps add up to what is on the topics."""
    certified = sum(one.record["sweep"]["published"] for one in told if one.kind == "sweep")
    if certified != published:
        yield f"certificates speak of {certified} events, {published} are published"


def seals(told: Sequence[Told], records: Sequence[Written]) -> Iterator[str]:
    """What is sealed last of a run is what is published of it, unless the seal was taken back."""
    last: dict[str, Told] = {}
    for one in told:
        if one.kind in {"sealed", "unsealed"}:
            last[one.record["run"]["run_id"]] = one
    digests: dict[str, list[bytes]] = {}
    for record in records:
        received: Any = record  # as far as headers go
        digest = digest_of(received, headers_of(received))
        if digest is not None and record.key is not None:
            digests.setdefault(record.key.decode(), []).append(digest)
    for run_id, seal in last.items():
        there = digests.get(run_id, [])
        said = seal.record["run"]
        if seal.kind == "sealed":
            sums = len(there), f"{fold(there):032x}"
            if sums != (said["count"], said["digest"]):
                yield f"run {run_id} is sealed with {said['count']} events and has {len(there)}"


def unsealed(told: Sequence[Told], finished: Mapping[str, Micros], until: Micros) -> Iterator[str]:
    """Every run that ended before `until` is sealed; `finished` has when runs ended."""
    sealed = {one.record["run"]["run_id"] for one in told if one.kind == "sealed"}
    left = [run for run, at in finished.items() if at < until and run not in sealed]
    if left:
        yield f"{len(left)} runs that ended long ago are not sealed, {left[0]} is one"


def gaps(told: Sequence[Told], until: Micros) -> Iterator[str]:
    """Every gap that was told of before `until` is closed."""
    known = [one for one in told if one.kind in {"gap", "gap_closed"}]
    if known and known[-1].kind == "gap" and known[-1].record["at"] < until:
        yield "a gap is still open"


def mutations(told: Sequence[Told], edited: Set[Name]) -> Iterator[str]:
    """Only what came with other content is called mutated."""
    for one in told:
        if one.kind == "mutated":
            name = one.record["event"]["run_id"], one.record["event"]["event_id"]
            if name not in edited:
                yield f"event {name[1]} is called mutated and never was"


def watermark(
    told: Sequence[Told], commits: Mapping[Name, int], expected: Mapping[Name, SimulatedEvent]
) -> Iterator[str]:
    """What the watermark says to be complete was published by then.

    `expected` are events that became visible within the lateness window, `commits` says with which
    call of the writer each was published.
    """
    events = sorted(expected.items(), key=lambda pair: pair[1].at)
    times = [event.at for _, event in events]
    latest = list(accumulate((commits.get(name, 0) for name, _ in events), max))
    for one in told:
        until = one.record["complete_until"]
        known = 0 if until is None else bisect_right(times, until)
        if known and latest[known - 1] > one.commit:
            name = next(n for n, _ in events[:known] if commits.get(n, 0) > one.commit)
            yield f"event {name[1]} was published after the watermark had passed it"
            return
