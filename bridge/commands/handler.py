"""From a record of the commands topic to its end: a result, a dead letter, or nothing to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from bridge import telemetry
from bridge.clock import SECOND
from bridge.commands import intake, model, policy
from bridge.commands.brakes.brake import broken
from bridge.commands.execution import Execution
from bridge.commands.ledger.journal import Journal
from bridge.commands.ledger.write_queue import Overtaken
from bridge.commands.limits import Shared
from bridge.commands.model import (
    Command,
    Doubt,
    Entry,
    Outcome,
    Problem,
    Received,
    Status,
    Verb,
)
from bridge.commands.requests import verdicts
from bridge.errors import InvalidRecord, RegistryAway
from bridge.kafka.producer import Record

_UNREADABLE = "the command's record, kept in the ledger, cannot be decoded any more"
_NO_ACCOUNT = "the source that its account names is gone from the settings, so nobody can look"
_VERBS = frozenset(verb.value for verb in Verb)


class Handler:
    """Handles the records of one partition; several at a time, but one of each key."""

    def __init__(self, shared: Shared, journal: Journal, stop: asyncio.Event) -> None:
        self._shared = shared
        self._journal = journal
        self._stop = stop
        self._live: dict[str, Entry] = {}

    @property
    def in_progress(self) -> int:
        """Commands on their way to an outcome."""
        return len(self._live)

    async def handle(self, received: Received, begun: Entry | None = None) -> None:
        """Take a record to its end, or leave it where a restart takes it up, if `stop` is set.

        `begun` is what an earlier owner left of it in the ledger; its record may be gone.
        """
        while not (self._stop.is_set() or self._journal.position.covers(received.offset)):
            try:
                if not await self._turn(received, begun):
                    return
            except Overtaken:
                # The ledger was read anew, and another owner had gone on with this command. That
                # is rare. Were it not, this loop alone would keep everything else from its turn.
                telemetry.command_overtaken(received.partition, received.offset)
                await self._shared.clock.sleep(0)

    async def _turn(self, received: Received, begun: Entry | None) -> bool:
        """Try once to take a record to its end; False if only another owner can."""
        if begun is None and not await self._shared.brakes.unbroken(self._stop):
            return False
        try:
            command = await self._decode(received)
        except InvalidRecord as error:
            if begun is None:
                await self._bury(received, error)
            else:
                await self._give_up(begun, received, error)
        except RegistryAway:
            return False  # only once `stop` is set
        else:
            self._shared.breaker.count(received.partition, received.offset, dead=False)
            await self._act(command, received)
        return True

    async def _decode(self, received: Received, *, checked: bool = True) -> Command:
        if checked:
            intake.check(received)
        subject = f"{self._journal.records.commands}-value"
        value = await self._shared.decoder.decode(
            subject, received.value, self._stop, arrived=received.arrived
        )
        return model.parse(value)

    async def _act(self, command: Command, received: Received) -> None:
        records = self._journal.records
        decision = policy.decide(
            command,
            received,
            self._live.get(command.command_id) or self._journal.known(command.command_id),
            self._shared.rules,
            partitions=records.counts[records.commands],
            now=self._shared.clock.now(),
        )
        match decision:
            case policy.Refuse(entry, outcome, final, remember):
                with self._busy_with(entry) if remember else nullcontext():
                    await self._answer(entry, outcome, received, final=final, remember=remember)
            case policy.TellAgain(entry):
                if entry.outcome is not None:
                    await self._answer(entry, entry.outcome, received, final=True, remember=False)
            case policy.Proceed(entry):
                await self._carry_out(command, entry, received)

    async def _carry_out(self, command: Command, entry: Entry, received: Received) -> None:
        shared = self._shared.of_account(command.account)
        with self._busy_with(entry):
            if shared is None:  # begun under other settings; what is not begun was refused
                doubt = entry.doubt or Doubt(_NO_ACCOUNT)
                outcome = verdicts.in_doubt(entry, doubt, self._shared.clock.now())
                await self._answer(entry, outcome, received, final=True, remember=True)
                return
            execution = Execution(shared, self._journal, self._stop, command, entry)
            end = await execution.run()
            if end is not None:
                await self._answer(execution.entry, end, received, final=True, remember=True)

    @contextmanager
    def _busy_with(self, entry: Entry) -> Iterator[None]:
        """Let others with this command_id see the entry before the ledger has its end."""
        self._live[entry.command_id] = entry
        try:
            yield
        finally:
            del self._live[entry.command_id]

    async def _give_up(self, begun: Entry, received: Received, error: InvalidRecord) -> None:
        """Answer a command that was accepted and cannot be read any more."""
        entry = self._journal.known(begun.command_id) or begun
        now = self._shared.clock.now()
        outcome = Outcome(Status.REJECTED, now, Problem("unreadable", f"{_UNREADABLE}: {error}"))
        if entry.is_open:
            outcome = verdicts.in_doubt(entry, entry.doubt or Doubt(f"{_UNREADABLE}: {error}"), now)
        await self._answer(entry, outcome, received, final=True, remember=True)

    async def _answer(
        self, entry: Entry, outcome: Outcome, received: Received, *, final: bool, remember: bool
    ) -> None:
        """Publish a result and be done with the record; `remember` it in the ledger as well."""
        outcome = model.fit(outcome)
        reply = await self._shared.replies.route(received)
        told = self._journal.records.tell(entry, outcome, received, reply, final=final)
        await self._journal.write(
            entry.done(outcome) if remember else None,
            told,
            after=entry,
            completes=received.offset,
        )
        self._shared.results[outcome.status.value] += 1
        seconds = (self._shared.clock.now() - received.received_at) / SECOND
        verb = entry.type if entry.type in _VERBS else "unknown"
        telemetry.command_finished(verb, outcome.status.value, max(0.0, seconds))

    async def _bury(self, received: Received, error: InvalidRecord) -> None:
        """Make a dead letter; the one that trips the breaker sets it in the same transaction."""
        refused = await self._refused(received, error)
        shared, now = self._shared, self._shared.clock.now()
        if shared.brakes.breaker is not None:
            return
        outputs = [self._journal.records.dead_letter(received, error, now), *refused]
        reason = shared.breaker.count(received.partition, received.offset, dead=True)
        if reason is not None:
            brake = broken(reason, now)
            shared.brakes.put(brake)
            outputs.append(self._journal.records.brake(brake))
        await self._journal.write(None, outputs, completes=received.offset)
        shared.results[Status.REJECTED.value] += bool(refused)
        telemetry.dead_letter(
            "commands", error.reason, partition=received.partition, offset=received.offset
        )

    async def _refused(self, received: Received, error: InvalidRecord) -> tuple[Record, ...]:
        """Return the result for the sender of a dead letter that shows which command it was."""
        entry = await self._sender(received, error)
        if entry is None:
            return ()
        problem = intake.refusal(error, as_json=error.reason != "too_large")
        outcome = Outcome(Status.REJECTED, self._shared.clock.now(), problem)
        known = self._live.get(entry.command_id) or self._journal.known(entry.command_id)
        reply = await self._shared.replies.route(received)
        return self._journal.records.tell(entry, outcome, received, reply, final=known is None)

    async def _sender(self, received: Received, error: InvalidRecord) -> Entry | None:
        if error.reason != "too_large":
            return intake.written_as_json(received)
        try:
            return intake.decoded(await self._decode(received, checked=False), received)
        except (InvalidRecord, RegistryAway):
            return None
