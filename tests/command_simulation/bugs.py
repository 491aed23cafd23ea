"""Bugs put in on purpose into the command side. Each is made from the original."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from aiokafka import TopicPartition

from bridge.clock import SECOND
from bridge.commands import policy
from bridge.commands.ledger.ledger import HORIZON
from bridge.commands.ledger.position import InputPosition
from bridge.commands.ledger.reader import Beginning
from bridge.commands.ledger.write_queue import Overtaken
from bridge.commands.model import Doubt, Entry, Kind, Outcome, Problem, Status
from bridge.commands.policy import Refuse
from bridge.commands.requests import effects
from bridge.commands.requests.effects import Effect, Nothing, Otherwise, Sight
from bridge.commands.requests.verdicts import Later, Settled
from bridge.commands.state_record import position_key
from bridge.errors import ApiError
from bridge.kafka.producer import Record
from command_simulation.stage import LETTERS

Original = Callable[..., Any]


# The ledger


def until_the_end(original: Original) -> Original:
    """Read the ledger up to the end that readers see, not until the claim is seen."""

    async def read_partition(
        kafka: Any, topic: str, number: int, *, until: Any, **options: Any
    ) -> AsyncIterator[Any]:
        at, consumer = TopicPartition(topic, number), kafka.consumer(group=None)
        await consumer.start()
        end = (await consumer.end_offsets([at]))[at]
        await consumer.stop()
        async for record in original(kafka, topic, number, until=None, **options):
            if record.offset < end:
                yield record

    return read_partition


def everything_is_visible(original: Original) -> Original:
    return lambda self, *, group, committed=True: original(self, group=group, committed=False)


def only_committed_is_visible(original: Original) -> Original:
    return lambda self, *, group, committed=True: original(self, group=group, committed=True)


def held_only_as_a_whole(original: Original) -> Original:
    """Take notice of brakes on everything alone."""
    return lambda self, _verb, _mission: bool(original(self, "", None))


def from_the_start(original: Original) -> Original:
    """Begin to read where the log begins, whatever the ledger says."""

    async def read(self: Any, *where: Any) -> Beginning:
        found: Beginning = await original(self, *where)
        return replace(found, position=InputPosition(found.begin))

    return read


def only_the_mark(original: Original) -> Original:
    """Keep the low-water mark, and not what is complete above it."""
    return lambda position, *rest: original(InputPosition(position.low), *rest)


def beyond_what_is_open(original: Original) -> Original:
    """Take everything below the last completed offset for complete."""

    def with_completed(self: InputPosition, offsets: Sequence[int]) -> InputPosition:
        ahead: InputPosition = original(self, offsets)
        return InputPosition(max([ahead.low, *(offset + 1 for offset in offsets)]))

    return with_completed


def without_the_mark(original: Original) -> Original:
    """Forget the position together with the first command that is forgotten."""

    async def _commit(self: Any, writer: Any, states: Any, outputs: Any, position: Any) -> None:
        gone = any(record.value is None for record in states) and outputs
        mark = [self.records.forgotten(position_key(self._partition))] if gone else []
        await original(self, writer, [*states, *mark], outputs, None if gone else position)

    return _commit


def by_the_wall_clock(_: Original) -> Original:
    """Forget by the times at which commands finished, as the wall clock had them."""

    def too_old(self: Any, _now: float, most: int) -> list[str]:
        done = [self.get(command_id) for command_id in self._finished]
        newest = max((entry.outcome.finished_at for entry in done), default=0)
        horizon = newest - round(HORIZON * SECOND)
        return [e.command_id for e in done if e.outcome.finished_at < horizon][:most]

    return too_old


# Transactions


def in_parts(*topics: str) -> Callable[[Original], Original]:
    """Commit the records of these topics first, and the others in a transaction of their own."""

    def made(original: Original) -> Original:
        async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
            first = [record for record in records if record.topic in topics]
            rest = [record for record in records if record.topic not in topics]
            if first and rest:
                await original(self, first)
            await original(self, rest or first, **options)

        return commit

    return made


def position_apart(original: Original) -> Original:
    """Commit the position in a transaction of its own, before what it speaks of."""

    async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
        first = [record for record in records if (record.key or b"").startswith(b"pos/")]
        rest = [record for record in records if record not in first]
        if first and rest:
            await original(self, first)
        await original(self, rest or first, **options)

    return commit


def intent_in_passing(original: Original) -> Original:
    """Write intents without waiting for them."""

    async def _put(self: Any, entry: Entry) -> None:
        if entry.kind is not Kind.INTENT:
            await original(self, entry)
            return
        before = self.entry
        self._putting = asyncio.ensure_future(self._journal.write(entry, after=before))
        self._putting.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.entry = entry

    return _put


def outcomes_are_lost(_: Original) -> Original:
    """Drop what waits to be written when a producer is lost."""

    def settle(self: Any, _stamp_of: Any, position: InputPosition) -> bool:
        waiting, self._items = list(self._items), type(self._items)()
        for item in waiting:
            if item.completes is not None and position.covers(item.completes):
                item.resolve()
            else:
                item.fail(Overtaken())
        return False

    return settle


def nothing_is_overtaken(_: Original) -> Original:
    """Write what waited when a producer was lost, whatever another owner did meanwhile."""
    return lambda self, _stamp_of, _position: len(self) > 0


def an_id_of_its_own(original: Original) -> Original:
    numbers = count()
    return lambda self, number: f"{original(self, number)}.{next(numbers)}"


def letters_are_dropped(original: Original) -> Original:
    async def commit(self: Any, records: Sequence[Record], **options: Any) -> None:
        told = [record for record in records if record.topic != LETTERS]
        await original(self, told, **options)

    return commit


# Looking for effects


def at_once(_: Original) -> Original:
    """Believe the first look."""
    return lambda _self, sight, _began: sight


def every_look_is_fresh(original: Original) -> Original:
    """Take a list that shows nothing newer than the request for no old copy."""

    async def look(*what: Any) -> Sight:
        seen: Sight = await original(*what)
        return replace(seen, certain=True) if isinstance(seen, Nothing) else seen

    return look


def as_ordered_is_enough(original: Original) -> Original:
    """Take a state that may have been so before for the effect of the request."""

    async def look(*what: Any) -> Sight:
        seen: Sight = await original(*what)
        return replace(seen, proven=True) if isinstance(seen, Effect) else seen

    return look


def unseen_is_absent(original: Original) -> Original:
    """Take what cannot be seen, or is otherwise, for a proof that nothing was done."""

    async def look(*what: Any) -> Sight:
        seen: Sight = await original(*what)
        return Nothing(seen.state, certain=True) if isinstance(seen, Otherwise) else seen

    return look


def always(_: Original) -> Original:
    return lambda _verb, *, resolve: True


def a_new_owner_looks_once(original: Original) -> Original:
    """Count no settle time anew for what an earlier owner has begun."""

    def init(self: Any, *what: Any) -> None:
        original(self, *what)
        if self._watch is not None:
            self._watch.alike, self._watch.alike_since = Nothing, float("-inf")

    return init


def told_again(original: Original) -> Original:
    """Forget that a command was told to be in doubt."""

    async def _tell(self: Any, found: str) -> None:
        self._doubt = replace(self._doubt, told=False)
        await original(self, found)

    return _tell


def clear_though_silent(original: Original) -> Original:
    """Take a request without a clear answer for one that was not carried out."""

    def judge(command: Any, error: Any, now: int) -> Any:
        if isinstance(error, ApiError) and error.executed is None:
            return Later(str(error))
        return original(command, error, now)

    return judge


def clear_though_redirected(original: Original) -> Original:
    """Take a redirect for the proof that the request was not carried out."""

    def judge(command: Any, error: Any, now: int) -> Any:
        if isinstance(error, ApiError) and 300 <= (error.status or 0) < 400:
            return Later(str(error))
        return original(command, error, now)

    return judge


def everybody_is_the_api(_: Original) -> Original:
    """Take what anybody on the way says for the API's own word."""
    return lambda _body: True


def the_first_look_explains_a_refusal(original: Original) -> Original:
    """Look once at why a command was refused."""

    async def _search(self: Any, watch: Any) -> Any:
        if self._refusal is None or self.entry.doubt is not None:
            return await original(self, watch)
        seen = await effects.look(
            self._shared.client, self._command, self.entry, self._shared.clock
        )
        return await self._concluded(seen)

    return _search


def refused_though_broken(original: Original) -> Original:
    """Take a 5xx for a refusal."""

    def judge(command: Any, error: Any, now: int) -> Any:
        if isinstance(error, ApiError) and error.status in (500, 503):
            problem = Outcome(Status.REJECTED, now, Problem("api_rejected", "5xx"))
            return Settled(problem)
        return original(command, error, now)

    return judge


def expired_in_doubt(original: Original) -> Original:
    """Say EXPIRED of a command whose request may have been carried out."""

    async def _search(self: Any, watch: Any) -> Any:
        outcome = policy.expired(self._command, self._shared.clock.now())
        return Settled(outcome) if outcome is not None else await original(self, watch)

    return _search


def no_effect_is_failure(original: Original) -> Original:
    """Say REJECTED where no effect was found in time."""

    def in_doubt(entry: Entry, doubt: Doubt, now: int, *found: Any) -> Outcome:
        outcome: Outcome = original(entry, doubt, now, *found)
        return replace(outcome, status=Status.REJECTED)

    return in_doubt


# Requests and records


def unguarded(_: Original) -> Original:
    """Send whatever was announced, however long ago and whoever owns it now."""
    return lambda self, _check: self


def repetitions_are_final(original: Original) -> Original:
    def decide(*what: Any, **options: Any) -> Any:
        decision = original(*what, **options)
        return replace(decision, final=True) if isinstance(decision, Refuse) else decision

    return decide


def all_bodies_are_alike(_: Original) -> object:
    return property(lambda _self: b"0123456789abcdef")


def every_record_has_its_lane(original: Original) -> Original:
    numbers = count()
    return lambda self, _key, job, size: original(self, str(next(numbers)).encode(), job, size)


def nothing_is_taken_up(_: Original) -> Original:
    """Leave what an earlier owner began to be read again."""

    def unfinished(_self: Any) -> list[Entry]:
        return []

    return unfinished


def any_partition_will_do(_: Original) -> Original:
    return lambda _command, _received, _rules, _partitions: None
