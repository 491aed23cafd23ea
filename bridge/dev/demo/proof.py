"""The proof at the end of the demo, pure: what the API knows against what is on Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

_EXAMPLES = 3
_ENDED_WELL = frozenset({"SUCCEEDED", "ALREADY_DONE", "IN_DOUBT"})
_MARKS = ("command_id", "idempotency_key")

Figures = tuple[tuple[str, int], ...]
"""Names with their counts, in the order in which they are shown."""


class PublishedEvent(NamedTuple):
    """An event as it is on Kafka."""

    run_id: str
    event_id: str
    late: bool


class Sent(NamedTuple):
    """A command as it was sent; no verb is sent twice for one run."""

    command_id: str
    verb: str
    run_id: str | None


@dataclass(frozen=True)
class ProofVerdict:
    """Figures to show, and a sentence for each way in which they do not fit."""

    figures: Figures
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether everything fits."""
        return not self.differences

    def __str__(self) -> str:
        return " | ".join(f"{name} {count:,}" for name, count in self.figures)


def prove_events(
    ledger: Iterable[Mapping[str, Any]], records: Sequence[PublishedEvent]
) -> ProofVerdict:
    """Compare the events that the API holds with the records of the topic.

    `ledger` is part `events` of the simulator's ledger; `records` are in the order of each
    partition. Order is judged by the API's own timestamps: within its run a record must not be
    older than one before it, unless it is marked late, and only such a record may be marked.
    """
    rows = {f"{row['run_id']}/{row['event_id']}": row for row in ledger}
    held = [name for name, row in rows.items() if row["deleted_at"] is None]
    shown = [name for name in held if rows[name]["shown_at"] is not None]
    found = Counter(f"{record.run_id}/{record.event_id}" for record in records)
    missing = [name for name in shown if name not in found]
    doubled = [name for name, count in found.items() if count > 1]
    strange = [name for name in found if name not in rows]
    unread = [name for name in held if rows[name]["shown_at"] is None]
    disordered, mismarked = _order(rows, records)
    return ProofVerdict(
        (
            ("API showed", len(shown)),
            ("on Kafka", len(records)),
            ("missing", len(missing)),
            ("doubled", len(doubled)),
            ("out of order", len(disordered)),
            ("marked late", sum(record.late for record in records)),
        ),
        _sentences(
            {
                "missing on Kafka": missing,
                "more than once on Kafka": doubled,
                "out of order within their run and not marked late": disordered,
                "marked late without being late": mismarked,
                "on Kafka and unknown to the API": strange,
                "held by the API and never read by the bridge": unread,
            },
            "events",
        ),
    )


def prove_commands(
    sent: Sequence[Sent],
    results: Sequence[Mapping[str, Any]],
    effects: Sequence[Mapping[str, Any]],
) -> ProofVerdict:
    """Compare the commands that were sent with their results and with what the API did.

    `results` are the records of the results topic, `effects` that part of the simulator's ledger.
    """
    finals = Counter(result["command_id"] for result in results if result["final"])
    status = {result["command_id"]: result["status"] for result in results if result["final"]}
    done = {one: sum(_is_effect_of(effect, one) for effect in effects) for one in sent}
    unasked = [
        f"{effect['operation']} of {effect.get('run_id', effect.get('mission_id'))}"
        for effect in effects
        if not any(_is_effect_of(effect, one) for one in sent)
    ]
    twice = [_name(one) for one, count in done.items() if count > 1]
    waiting = [_name(one) for one in sent if finals[one.command_id] == 0]
    return ProofVerdict(
        (
            ("sent", len(sent)),
            ("final results", finals.total()),
            ("without a result", len(waiting)),
            ("in doubt", sum(one == "IN_DOUBT" for one in status.values())),
            ("effects", len(effects)),
            ("effects done twice", len(twice)),
        ),
        _sentences(
            {
                "without a final result": waiting,
                "with more than one final result": [
                    _name(one) for one in sent if finals[one.command_id] > 1
                ],
                "done more than once by the API": twice,
                "reported as done and unknown to the API": [
                    _name(one)
                    for one, count in done.items()
                    if status.get(one.command_id) == "SUCCEEDED" and count == 0
                ],
                "that did not succeed": [
                    f"{_name(one)} ({status[one.command_id]})"
                    for one in sent
                    if status.get(one.command_id, "SUCCEEDED") not in _ENDED_WELL
                ],
                "with a result that nobody sent": sorted(
                    finals.keys() - {one.command_id for one in sent}
                ),
                "that nobody sent, done by the API": unasked,
            },
            "commands",
        ),
    )


def _order(
    rows: Mapping[str, Mapping[str, Any]], records: Sequence[PublishedEvent]
) -> tuple[list[str], list[str]]:
    """Return what stands too late in its run without the mark, and what has it for no reason."""
    newest: dict[str, datetime] = {}
    disordered, mismarked = [], []
    for record in records:
        name = f"{record.run_id}/{record.event_id}"
        if name not in rows:
            continue
        at = datetime.fromisoformat(rows[name]["timestamp"])
        before = newest.get(record.run_id, at)
        if at < before and not record.late:
            disordered.append(name)
        if at >= before and record.late:
            mismarked.append(name)
        newest[record.run_id] = max(at, before)
    return disordered, mismarked


def _is_effect_of(effect: Mapping[str, Any], one: Sent) -> bool:
    """Whether the API did this for that command: by its mark, else by verb and run."""
    if effect["operation"] != one.verb:
        return False
    marks = {effect[mark] for mark in _MARKS if mark in effect}
    return one.command_id in marks if marks else effect["run_id"] == one.run_id


def _name(one: Sent) -> str:
    return f"{one.verb} {one.command_id}"


def _sentences(wrong: Mapping[str, Sequence[str]], things: str) -> tuple[str, ...]:
    """Say how many and which, the first few by name."""
    return tuple(
        f"{len(names):,} {things} {what}: {', '.join(names[:_EXAMPLES])}"
        + (" ..." if len(names) > _EXAMPLES else "")
        for what, names in wrong.items()
        if names
    )
