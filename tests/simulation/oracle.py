"""Whether a story ended well: what readers of committed records find, against what there is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bridge.clock import Micros
from bridge.dev.api.feed import SimulatedEvent
from bridge.errors import StateError
from bridge.missions.timestamps import micros
from bridge.source.checkpoint import records as state
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.takeover import feed_of
from bridge.source.writing.headers import headers_of, origin_in
from simulation import oracle_audit
from simulation.brokers import Brokers, Written
from simulation.oracle_audit import Name, Told
from simulation.process import CODEC, LAYOUT, SETTINGS

T = TypeVar("T")


@dataclass
class Verdict:
    """What is wrong, in words, and what was counted."""

    problems: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    late: int = 0
    published: int = 0
    gaps: int = 0
    sealed: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """What there is in the end, as far as one source is concerned.

    `expected` are events by run and id that lists still show, `broken` rows that cannot be
    converted, by a word that only they contain. `prompt` are those of the expected that appeared
    within the lateness window, where the watermark speaks of them; `finished` are runs that must be
    sealed, `edited` events that came again with other content. What is older than `floor` is not
    wanted, nor are the events of the `past`; gaps older than `repaired` are closed. Without
    transactions `once` is False: what fails may be written again, and sums need not add up.
    """

    source: str
    expected: Mapping[Name, SimulatedEvent]
    broken: Mapping[str, SimulatedEvent]
    prompt: Mapping[Name, SimulatedEvent]
    finished: Mapping[str, Micros]
    edited: Set[Name]
    floor: Micros
    past: Set[Name]
    once: bool
    repaired: Micros
    now: Micros


def judge(brokers: Brokers, truth: Truth, checkpoint: Checkpoint | None) -> Verdict:
    """Compare the topics with the truth; `checkpoint` is the owner's own idea of what it wrote."""
    verdict = Verdict()
    records = list(_of(truth.source, committed(brokers, LAYOUT.events)))
    events = [decoded(LAYOUT.events, one) for one in records]
    letters = list(_of(truth.source, committed(brokers, LAYOUT.dead_letters)))
    told = list(all_told(brokers, truth.source))
    commits = {
        (event["run_id"], event["event_id"]): record.commit
        for event, record in zip(events, records, strict=True)
    }
    verdict.published = len(events)
    verdict.gaps = sum(one.kind == "gap" for one in told)
    verdict.sealed = sum(one.kind == "sealed" for one in told)
    _judge_lost(verdict, commits.keys(), truth.expected)
    verdict.problems += [
        *(f"{e['event_id']} is too old" for e in events if e["timestamp"] < truth.floor),
        *(f"{event_id} was there before" for _, event_id in commits.keys() & truth.past),
        *oracle_audit.gaps(told, truth.repaired),
        *oracle_audit.mutations(told, truth.edited),
    ]
    if not truth.once:
        _judge_checkpoint(verdict, brokers, truth.source, checkpoint, None)
        return verdict
    _judge_events(verdict, events, truth.expected)
    _judge_letters(verdict, [one.value or b"" for one in letters], truth.broken)
    _judge_checkpoint(verdict, brokers, truth.source, checkpoint, len(events) + len(letters))
    verdict.problems += [
        *_torn(brokers),
        *_disordered(events, records),
        *oracle_audit.count_up(told, len(events) + len(letters)),
        *oracle_audit.seals(told, [*records, *letters]),
        *oracle_audit.unsealed(told, truth.finished, truth.now),
        *oracle_audit.watermark(told, commits, truth.prompt),
    ]
    return verdict


def committed(brokers: Brokers, topic: str) -> Iterator[Written]:
    """Yield the committed records of a topic, partition by partition."""
    for at in sorted(brokers.logs):
        if at.topic == topic:
            yield from (record for _, record in brokers.logs[at].committed())


def all_told(brokers: Brokers, source: str) -> Iterator[Told]:
    """Yield what a source told on the audit topic."""
    for one in committed(brokers, LAYOUT.audit):
        record = decoded(LAYOUT.audit, one)
        if record["source"] == source:
            yield Told(one.commit, record)


def _of(source: str, records: Iterator[Written]) -> Iterator[Written]:
    """Yield those that a source wrote; one that does not say may be of any."""
    for one in records:
        received: Any = one  # as far as headers go
        if origin_in(headers_of(received)).get("source", source) == source:
            yield one


def _judge_lost(
    verdict: Verdict, there: Set[Name], expected: Mapping[Name, SimulatedEvent]
) -> None:
    lost = expected.keys() - there
    verdict.lost = len(lost)
    if lost:
        first = min(lost, key=lambda name: expected[name].at)
        verdict.problems.append(
            f"{len(lost)} of {len(expected)} events lost, the oldest {first[1]} "
            f"of {expected[first].timestamp}"
        )


def _judge_events(
    verdict: Verdict, events: list[dict[str, Any]], expected: Mapping[Name, SimulatedEvent]
) -> None:
    names = Counter((event["run_id"], event["event_id"]) for event in events)
    verdict.doubled = names.total() - len(names)
    if verdict.doubled:
        (first, times), *_ = names.most_common(1)
        verdict.problems.append(
            f"{verdict.doubled} events published twice or more, {first[1]} {times} times"
        )
    newest: dict[str, Micros] = {}
    for event in events:
        run, at = event["run_id"], event["timestamp"]
        before = newest.get(run)
        is_late = before is not None and at < before
        verdict.late += is_late
        if is_late is not event["late"]:
            word = "is not" if is_late else "is"
            verdict.problems.append(f"event {event['event_id']} {word} marked late")
            break
        newest[run] = at if before is None else max(before, at)
        there = expected.get((run, event["event_id"]))
        if there is not None and micros(there.timestamp) != at:
            verdict.problems.append(f"event {event['event_id']} has another timestamp")


def _judge_letters(
    verdict: Verdict, letters: list[bytes], broken: Mapping[str, SimulatedEvent]
) -> None:
    text = b"\n".join(letters).decode("utf-8", "replace")
    for word, event in broken.items():
        times = text.count(word)
        if times > 1 or (times == 0 and event.deleted_at is None):
            verdict.problems.append(f"{times} dead letters of {word}")
    if len(letters) > len(broken):
        verdict.problems.append(f"{len(letters)} dead letters of {len(broken)} broken rows")


def _judge_checkpoint(
    verdict: Verdict,
    brokers: Brokers,
    source: str,
    checkpoint: Checkpoint | None,
    published: int | None,
) -> None:
    live: dict[str, dict[str, Any]] = {}
    for record in committed(brokers, LAYOUT.checkpoint):
        key = (record.key or b"").decode()
        if not state.concerns(source, key):
            continue
        live.pop(key, None)
        if record.value is not None:
            live[key] = decoded(LAYOUT.checkpoint, record)
    try:
        read = state.read_back(source, feed_of(SETTINGS.api.base_url, source), live)
    except StateError as error:
        verdict.problems.append(str(error))
        return
    if checkpoint is not None and read != checkpoint:
        verdict.problems.append("the checkpoint is not what its owner thinks")
    if published is not None and read.published != published:
        verdict.problems.append(
            f"the checkpoint counts {read.published} events, {published} are there"
        )


def _torn(brokers: Brokers) -> Iterator[str]:
    """Name calls of the writer of which one part is committed and another is not."""
    parts: dict[int, set[bool]] = defaultdict(set)
    for log in brokers.logs.values():
        for entry in log.entries:
            if entry is not None:
                record, transaction = entry
                parts[record.commit].add(bool(transaction.committed))
    torn = [commit for commit, states in parts.items() if len(states) > 1]
    if torn:
        yield f"{len(torn)} transactions are torn"


def _disordered(events: list[dict[str, Any]], records: list[Written]) -> Iterator[str]:
    """Name an event that stands before an older one of its run in one and the same transaction."""
    newest: dict[tuple[int, str], Micros] = {}
    for event, record in zip(events, records, strict=True):
        name = record.commit, event["run_id"]
        if event["timestamp"] < newest.get(name, event["timestamp"]):
            yield f"event {event['event_id']} stands behind a later one of its transaction"
            return
        newest[name] = event["timestamp"]


def decoded(topic: str, record: Written) -> dict[str, Any]:
    """Return the value of a record."""
    return _at_once(CODEC.decode(f"{topic}-value", record.value))


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it had to wait")
