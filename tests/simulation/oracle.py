"""Whether a story ended well: what readers of committed records find, against what there is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bridge.clock import Micros
from bridge.dev.feed import Event
from bridge.errors import StateError
from bridge.source import checkpoint_records as state
from bridge.source.checkpoint import Checkpoint
from bridge.source.convert import micros
from simulation.brokers import Brokers, Written
from simulation.process import CODEC, LAYOUT, SOURCE

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


def judge(
    brokers: Brokers,
    expected: dict[tuple[str, str], Event],
    broken: dict[str, Event],
    checkpoint: Checkpoint | None,
) -> Verdict:
    """Compare the topics with what lists show in the end.

    `expected` are events by run and id, `broken` rows that cannot be converted by a word that only
    they contain; `checkpoint` is the owner's own idea of it.
    """
    verdict = Verdict()
    events = [_decode(LAYOUT.events, one) for one in committed(brokers, LAYOUT.events)]
    verdict.published = len(events)
    _judge_events(verdict, events, expected)
    letters = [one.value or b"" for one in committed(brokers, LAYOUT.dead_letters)]
    _judge_letters(verdict, letters, broken)
    _judge_checkpoint(verdict, brokers, checkpoint, events, len(letters))
    verdict.problems += _torn(brokers)
    verdict.problems += _disordered(brokers)
    return verdict


def committed(brokers: Brokers, topic: str) -> Iterator[Written]:
    """Yield the committed records of a topic, partition by partition."""
    for at in sorted(brokers.logs):
        if at.topic == topic:
            yield from (record for _, record in brokers.logs[at].committed())


def _judge_events(
    verdict: Verdict, events: list[dict[str, Any]], expected: dict[tuple[str, str], Event]
) -> None:
    names = Counter((event["run_id"], event["event_id"]) for event in events)
    lost = expected.keys() - names.keys()
    verdict.lost = len(lost)
    if lost:
        first = min(lost, key=lambda name: expected[name].at)
        verdict.problems.append(
            f"{len(lost)} of {len(expected)} events lost, the oldest {first[1]} "
            f"of {expected[first].timestamp}"
        )
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


def _judge_letters(verdict: Verdict, letters: list[bytes], broken: dict[str, Event]) -> None:
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
    checkpoint: Checkpoint | None,
    events: list[dict[str, Any]],
    letters: int,
) -> None:
    live: dict[str, dict[str, Any]] = {}
    for record in committed(brokers, LAYOUT.checkpoint):
        key = (record.key or b"").decode()
        if not state.concerns(SOURCE, key):
            continue
        live.pop(key, None)
        if record.value is not None:
            live[key] = _decode(LAYOUT.checkpoint, record)
    try:
        read = state.read_back(SOURCE, "" if checkpoint is None else checkpoint.feed, live)
    except StateError as error:
        verdict.problems.append(str(error))
        return
    if checkpoint is not None and read != checkpoint:
        verdict.problems.append("the checkpoint is not what its owner thinks")
    if read.published != len(events) + letters:
        verdict.problems.append(
            f"the checkpoint counts {read.published} events; "
            f"{len(events)} and {letters} dead letters are there"
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


def _disordered(brokers: Brokers) -> Iterator[str]:
    """Name an event that stands before an older one of its run in one and the same transaction."""
    newest: dict[tuple[int, str], Micros] = {}
    for record in committed(brokers, LAYOUT.events):
        event = _decode(LAYOUT.events, record)
        name = record.commit, event["run_id"]
        if event["timestamp"] < newest.get(name, event["timestamp"]):
            yield f"event {event['event_id']} stands behind a later one of its transaction"
            return
        newest[name] = event["timestamp"]


def _decode(topic: str, record: Written) -> dict[str, Any]:
    return _at_once(CODEC.decode(f"{topic}-value", record.value))


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it had to wait")
