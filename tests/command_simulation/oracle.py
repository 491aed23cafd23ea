"""Whether a story ended well: what was answered, against what was ordered and what was done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition

from bridge.clock import SECOND
from bridge.commands.model import Verb
from command_simulation.api import Effect
from command_simulation.ledgers import Found, covered, found, ledger
from command_simulation.orders import Kind, Order, by_key
from command_simulation.stage import LETTERS, RESULTS, Stage

Place = tuple[int, int]
"""Partition and offset of a record of the commands topic."""

NO_EFFECT: Final = frozenset({"REJECTED", "EXPIRED", "FAILED", "UNAUTHORIZED", "ALREADY_DONE"})
SET_AGAIN: Final = frozenset(verb.value for verb in Verb) - {
    "start_run",
    "create_mission",
    "clone_mission",
    "log_event",
    "pause_run",
    "resume_run",
}
"""Verbs that set the same again when they are repeated, and may be, whatever the policy."""

ACCEPTED: Final = frozenset({Kind.GOOD, Kind.EXPIRING, Kind.AGAIN, Kind.OTHER, Kind.DENIED})
"""What counts for dedup: the first record of a command_id gets the final result."""


@dataclass
class Verdict:
    """What is wrong, in words, and what was counted."""

    problems: list[str] = field(default_factory=list)
    results: int = 0
    succeeded: int = 0
    in_doubt: int = 0
    twice: int = 0
    """Commands that were carried out more than once."""
    late: int = 0
    """Requests that were carried out after the settle time."""


def judge(stage: Stage) -> Verdict:
    """Compare topics, ledgers and effects with what was ordered."""
    verdict = Verdict()
    case = Case(stage)
    verdict.results = sum(len(each) for each in case.results.values())
    finals = [one for one in case.final.values() if one.value is not None]
    verdict.succeeded = sum(_status(one) == "SUCCEEDED" for one in finals)
    verdict.in_doubt = sum(_status(one) == "IN_DOUBT" for one in finals)
    verdict.late = sum(case.is_late(effect) for effect in stage.api.effects)
    verdict.twice = sum(
        sum(effect.changed for effect in effects) > 1 for effects in case.effects.values()
    )
    verdict.problems += [
        *_answers(case),
        *_effects(case),
        *_truth(case),
        *_order(case),
        *_held_back(case),
        *_positions(case),
        *_torn(stage),
    ]
    return verdict


class Case:
    """The evidence, sorted."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.results: defaultdict[Place, list[Found]] = defaultdict(list)
        self.letters: defaultdict[Place, list[int]] = defaultdict(list)
        self.final: dict[Place, Found] = {}
        """The final result of a record that has one."""
        self.effects: defaultdict[str, list[Effect]] = defaultdict(list)
        for offset, record in stage.cluster.records(RESULTS):
            one = found(RESULTS, offset, record)
            assert one.value is not None
            place = one.value["source_partition"], one.value["source_offset"]
            self.results[place].append(one)
            if one.value["final"]:
                self.final[place] = one
        for _, record in stage.cluster.records(LETTERS):
            origin = dict(record.headers)
            place = (
                int(origin["__connect.errors.partition"]),
                int(origin["__connect.errors.offset"]),
            )
            self.letters[place].append(record.commit)
        for effect in stage.api.effects:
            self.effects[effect.mark].append(effect)
        self.history = [
            list(ledger(stage.cluster, number)) for number in range(stage.scenario.partitions)
        ]
        """All that each ledger ever said, compacted away or not."""

    def is_late(self, effect: Effect) -> bool:
        """Whether a request was carried out after the settle time."""
        return effect.at - effect.sent > self.stage.settings.commands.settle

    def is_strict(self, order: Order) -> bool:
        """Whether a request of this command must not be repeated on a guess."""
        return order.strict or not self.stage.scenario.resolve

    def told(self, order: Order) -> list[str]:
        """Return the statuses of a record's results."""
        return [_status(one) for one in self.results[order.place]]

    def first(self) -> dict[tuple[TopicPartition, str], Order]:
        """Return the first accepted record of each command."""
        first: dict[tuple[TopicPartition, str], Order] = {}
        for order in self.stage.orders:
            if order.kind in ACCEPTED:
                first.setdefault((order.at, order.command_id), order)
        return first


def _answers(case: Case) -> Iterator[str]:
    """One final result for each command, one end for each record."""
    first = case.first()
    for order in case.stage.orders:
        leader = first.get((order.at, order.command_id), order)
        if order.kind is Kind.GARBAGE:
            problem = _mistreated_garbage(case, order)
        elif order.kind not in ACCEPTED or leader is order:
            problem = _misanswered(case, order)
        else:
            problem = _mistreated_repetition(case, order, leader)
        if problem is not None:
            yield f"{order.kind.value} {order.command_id} at {order.place} {problem}"


def _mistreated_garbage(case: Case, order: Order) -> str | None:
    told, letters = case.told(order), len(case.letters[order.place])
    return f"has {letters} dead letters and results {told}" if told or letters != 1 else None


def _misanswered(case: Case, order: Order) -> str | None:
    results = case.results[order.place]
    finals = [one for one in results if _is_final(one)]
    early = [one for one in results if not _is_final(one)]
    if case.letters[order.place]:
        return "has a dead letter"
    authors = [case.stage.cluster.authors[one.commit] for one in early]
    told_again = len(authors) > len(set(authors))
    if len(finals) != 1 or told_again or any(_status(one) != "IN_DOUBT" for one in early):
        return f"has results {case.told(order)}, {len(finals)} of them final"
    if early and early[0].commit > finals[0].commit:
        return "is in doubt after its final result"
    return _mistold(order, finals[0])


def _mistreated_repetition(case: Case, order: Order, leader: Order) -> str | None:
    told, results = case.told(order), case.results[order.place]
    if len(results) != 1 or _is_final(results[0]) or case.letters[order.place]:
        return f"has results {told}, which is wrong for a repetition"
    same = (order.kind is Kind.OTHER) is (leader.kind is Kind.OTHER)
    wanted = ("DUPLICATE", "duplicate") if same else ("REJECTED", "id_reused")
    return f"is told {told}" if (told[0], _code(results[0])) != wanted else None


def _mistold(order: Order, final: Found) -> str | None:
    """Return what is wrong with a result that follows from the record alone."""
    wanted = {
        Kind.INVALID: ("REJECTED", "invalid"),
        Kind.MISROUTED: ("REJECTED", "misrouted"),
        Kind.DENIED: ("UNAUTHORIZED", "verb_not_allowed"),
    }.get(order.kind)
    told = _status(final), _code(final)
    if wanted is not None and told != wanted:
        return f"is told {told}"
    return None


def _effects(case: Case) -> Iterator[str]:
    """No command is carried out twice."""
    ordered = {order.mark: order for order in case.first().values()}
    for mark, effects in case.effects.items():
        order = ordered.get(mark)
        if order is None:
            yield f"{mark} was carried out, and nobody ordered it"
            continue
        times = sum(effect.changed for effect in effects)
        late = any(case.is_late(effect) for effect in effects)
        may_repeat = order.verb in SET_AGAIN or not case.is_strict(order)
        if times > 1 and not (late and may_repeat):
            at = [round(effect.at - 1000, 1) for effect in effects if effect.changed]
            yield f"{order.verb} {order.command_id} was carried out {times} times, at {at}"


def _truth(case: Case) -> Iterator[str]:
    """Results say what is so."""
    moved = _changed_hands(case)
    for order in case.first().values():
        final = case.final.get(order.place)
        if final is None or order.kind not in {Kind.GOOD, Kind.EXPIRING, Kind.OTHER}:
            continue
        status, effects = _status(final), case.effects[order.mark]
        name = f"{order.verb} {order.command_id}"
        if status == "SUCCEEDED" and not effects and not _was_so(case, order, final):
            yield f"{name} is told SUCCEEDED, and was not carried out"
        if status == "ALREADY_DONE" and not _was_so(case, order, final):
            yield f"{name} is told ALREADY_DONE, and it was not so"
        if status in NO_EFFECT and not _was_too_late(case, order, effects):
            yield f"{name} is told {status} ({_code(final)}), and was carried out"
        if status == "IN_DOUBT" and (problem := _undoubted(case, order, moved)) is not None:
            yield f"{name} is told IN_DOUBT, {problem}"
        if status not in {"SUCCEEDED", "IN_DOUBT", *NO_EFFECT}:
            yield f"{name} is told {status}"


def _was_too_late(case: Case, order: Order, effects: list[Effect]) -> bool:
    """Whether nothing was done, or only what nobody could wait for, and may be repeated."""
    may_repeat = order.verb in SET_AGAIN or not case.is_strict(order)
    return not effects or (may_repeat and all(map(case.is_late, effects)))


def _undoubted(case: Case, order: Order, moved: Set[tuple[int, str]]) -> str | None:
    """Say why there is no reason to doubt."""
    stage = case.stage
    if order.mark not in stage.unclear and (order.at.partition, order.command_id) not in moved:
        return "though its answer was clear"
    effects = case.effects[order.mark]
    in_time = any(effect.changed and not case.is_late(effect) for effect in effects)
    gone = any(effect.verb == "delete_mission" for effect in stage.api.effects)
    is_plain = not (stage.scenario.roads.stale or stage.meddled or order.forbidden or gone)
    if in_time and is_plain and order.verb != "clone_mission":
        return "though its effect could be found"
    return None


def _was_so(case: Case, order: Order, final: Found) -> bool:
    """Whether a state that was asked for was there, without the command's own request.

    That is after the first request. Reads may lag behind by the settle time; where they lag more,
    nobody can know.
    """
    told = final.value or {}
    settle = case.stage.settings.commands.settle
    beyond = max(0.0, case.stage.scenario.roads.stale_by - settle)
    since = (told["started_at"] or told["received_at"]) - round(beyond * SECOND)
    times = range(since, told["finished_at"] + 1, round(settle * SECOND / 70))
    return any(case.stage.api.is_so(order.mark, at) for at in (*times, told["finished_at"]))


def _changed_hands(case: Case) -> set[tuple[int, str]]:
    """Return the commands whose partition had more than one owner while they were under way."""
    authors, moved = case.stage.cluster.authors, set[tuple[int, str]]()
    for number, history in enumerate(case.history):
        began: dict[str, str] = {}
        for one in history:
            if not one.commit:  # a brake: nobody's transaction
                continue
            author = authors[one.commit]
            moved |= {(number, key) for key, first in began.items() if first != author}
            if one.value is None or one.value["command"] is None:
                continue
            began.setdefault(one.key, author)
            if one.value["kind"] == "done":
                began.pop(one.key, None)
    return moved


def _order(case: Case) -> Iterator[str]:
    """The effects of each key come in the order of its commands."""
    for orders in by_key(list(case.first().values())):
        last, who = -1.0, ""
        for order in orders:
            times = [
                effect.at
                for effect in case.effects[order.mark]
                if effect.changed and not case.is_late(effect)
            ]
            if times and min(times) < last:
                yield f"{order.verb} {order.command_id} was carried out before {who}"
            if times:
                last, who = max(last, min(times)), order.command_id


def _held_back(case: Case) -> Iterator[str]:
    """No request leaves while its command is held back."""
    for order in case.first().values():
        for effect in case.effects[order.mark]:
            brakes = case.stage.brakes
            if any(one.holds(order.verb, order.mission_id, effect.sent) for one in brakes):
                yield f"{order.verb} {order.command_id} left while it was held back"


def _positions(case: Case) -> Iterator[str]:
    """A position passes nothing that is unfinished, and never goes back."""
    ends = _ends(case)
    for number, history in enumerate(case.history):
        before: set[int] = set()
        for one in history:
            if one.value is None or one.value["kind"] != "position":
                continue
            now = covered(one.value["position"])
            for offset in sorted(now - before):
                if ends.get((number, offset), one.commit + 1) > one.commit:
                    yield f"the position of {number} passes {offset}, which is unfinished"
            if before - now:
                yield f"the position of {number} goes back over {sorted(before - now)}"
            before = now


def _ends(case: Case) -> dict[Place, int]:
    """Return which call of a writer ended each record."""
    ends = {place: min(commits) for place, commits in case.letters.items() if commits}
    for place, results in case.results.items():
        closing = [one.commit for one in results if _is_closing(one)]
        if closing:
            ends[place] = min(closing)
    return ends


def _torn(stage: Stage) -> Iterator[str]:
    """Name calls of the writer of which one part is committed and another is not."""
    parts: dict[int, set[bool]] = defaultdict(set)
    for log in stage.cluster.logs.values():
        for entry in log.entries:
            if entry is not None and entry[0].commit:
                parts[entry[0].commit].add(bool(entry[1].committed))
    torn = [commit for commit, states in parts.items() if len(states) > 1]
    if torn:
        yield f"{len(torn)} transactions are torn"


def _status(one: Found) -> str:
    return str((one.value or {})["status"])


def _is_final(one: Found) -> bool:
    return bool((one.value or {})["final"])


def _is_closing(one: Found) -> bool:
    """Whether a result is the end of its record."""
    return _is_final(one) or _status(one) in {"DUPLICATE", "REJECTED"}


def _code(one: Found) -> str | None:
    error = (one.value or {})["error"]
    return None if error is None else str(error["code"])
