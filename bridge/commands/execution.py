"""One command from its first attempt to its outcome.

    gate open -> slot -> turn to launch -> nothing holds it back -> INTENT durable -> request
         ^                                                                               |
         |--- wait <--- WITHDRAWN durable <--- surely not carried out -------------------|
         |--- wait <--- DOUBT durable, told <--- look for the effect <--- unclear -------|
         |                  look at the state <--- WITHDRAWN durable <--- refused -------|
         '--- repeat <--- WITHDRAWN durable <--- surely absent <---'          outcome <--'

Nothing but the request and the two records around it happens while a slot is held: what waits for
the API, the key, a brake, the fuse or a settle time does not keep others from going on.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace

from bridge import telemetry
from bridge.clock import SECOND, until_stopped
from bridge.commands import model, policy
from bridge.commands.brakes.brake import LONGEST_WAIT
from bridge.commands.ledger.journal import Journal
from bridge.commands.limits import Launch, Shared
from bridge.commands.model import Command, Doubt, Entry, Kind, Outcome, Verb
from bridge.commands.requests import effects, verbs, verdicts
from bridge.commands.requests.effects import Effect, Nothing, Sight
from bridge.commands.requests.resolution import MOST_ATTEMPTS, REPEAT, Repeat, Wait, Watch, repeats
from bridge.commands.requests.verdicts import KeyRefused, Later, LookAtState, Settled, Unclear
from bridge.errors import AccessError, ApiError, ApiRejected, InvalidId, RateLimited

_REFUSALS = 2
"""So often a command is refused while the key works before that is its answer."""

_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_AFTER_CRASH = "the bridge announced the request and stopped before it recorded an answer"
_LOOKING = "it is not seen yet and still looked for, a final result follows"
_ON_ITS_WAY = (
    "all is as ordered, as it may have been before; the request may still be on its way, which is"
    " waited for, a final result follows"
)
_ANSWERS = (ApiError, AccessError, ApiRejected, InvalidId)


class IntentTooOld(Exception):
    """The announcement is too old, held back or no longer ours: the request must not leave."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not attempted: look again after so many seconds, or once `wake` is set."""

    seconds: float
    wake: asyncio.Event | None = None


Step = Settled | Later | KeyRefused | Unclear | LookAtState | Hold


class Execution:
    """Attempts at one command; `entry` is what the ledger has of it."""

    def __init__(
        self,
        shared: Shared,
        journal: Journal,
        stop: asyncio.Event,
        command: Command,
        entry: Entry,
    ) -> None:
        self._shared = shared
        self._journal = journal
        self._stop = stop
        self._command = command
        self._verb = Verb(command.type)
        self._doubt = entry.doubt or Doubt(_AFTER_CRASH)
        self._refusal: ApiRejected | None = None
        self._refusals = 0
        self._watch: Watch | None = None
        if entry.is_open:
            self._watch = Watch(journal.since, shared.settle)
        self.entry = entry

    async def run(self) -> Outcome | None:
        """Return the outcome, or None if `stop` was set first: the ledger says how far it came.

        Raises Overtaken (decide anew) and what ended the journal.
        """
        shared, tries = self._shared, 0
        try:
            while await shared.gate.wait_open(self._stop):
                step = await (self._attempt() if self._watch is None else self._search(self._watch))
                if isinstance(step, KeyRefused):
                    step = await self._weighed(step.error)
                match step:
                    case Settled(outcome):
                        return outcome
                    case Hold(seconds, wake):
                        await self._pause(seconds, wake)
                        async with shared.turns:  # a brake that is lifted wakes all that it held
                            await shared.clock.sleep(0)
                    case Unclear(doubt):
                        self._doubt = replace(doubt, told=self._doubt.told)
                        self._watch = Watch(shared.clock.monotonic(), shared.settle)
                    case LookAtState(refusal):
                        self._refusal = refusal
                        self._watch = Watch(shared.clock.monotonic(), shared.settle)
                    case Later(reason, wait, counts):
                        tries += 1
                        if counts:  # a 429 is no absence
                            shared.api_away[self._command.command_id] = reason
                            telemetry.dependency_away("api", reason, of="commands")
                        await self._pause(_backoff(tries) if wait is None else wait)
            return None
        finally:
            shared.api_away.pop(self._command.command_id, None)
            shared.note_doubt(self._command.command_id, there=False)
            shared.note_held(self._command.command_id, None)

    # A request

    async def _attempt(self) -> Step:
        """Announce the request and make it, if nothing speaks against it now."""
        shared, self._refusal = self._shared, None
        step: Step | None = self._obstacle()
        if step is not None:
            return step
        before = self.entry.before
        if not self.entry.is_open:
            try:
                before = await effects.snapshot(shared.client, self._command)
            except ApiRejected:
                before = None  # a read may be old: the answer to the request itself decides
            except InvalidId as error:
                return verdicts.judge(self._command, error, shared.clock.now())
            except ApiError as error:
                return _later(error, counts=False)
            except AccessError as error:
                return KeyRefused(error)
        async with shared.slots, Launch(shared.launches) as launch:
            step = self._obstacle() or self._fuse()
            if step is None:
                since = shared.clock.monotonic()
                await self._put(self.entry.attempting(shared.clock.now(), before))
                step = await self._call(since, launch)
        if self.entry.kind is Kind.INTENT and not isinstance(step, Settled | Unclear):
            counts = not isinstance(step, Hold) and step.counts
            await self._put(self.entry.withdrawn(counts=counts))
        if self.entry.is_open and not isinstance(step, Settled | Unclear):
            self._watch = Watch(shared.clock.monotonic(), shared.settle)
        return step

    def _obstacle(self) -> Step | None:
        """Say why no request may be announced now, None if nothing stands in its way."""
        if self._stop.is_set() or not self._shared.gate.is_open:
            return Hold(0.0)
        outcome = policy.expired(self._command, self._shared.clock.now())
        if outcome is None:
            return self._held()
        if self.entry.is_open:  # no result may say that nothing was done
            self._watch = Watch(self._shared.clock.monotonic(), self._shared.settle)
            return Hold(0.0)
        return Settled(outcome)

    def _held(self) -> Step | None:
        """Hold back what a brake holds."""
        shared = self._shared
        braked = shared.brakes.holds(self._verb, self._command.mission_id)
        shared.note_held(self._command.command_id, "brake" if braked else None)
        return Hold(LONGEST_WAIT, shared.brakes.changed) if braked else None

    def _fuse(self) -> Step | None:
        if self._verb is not Verb.START_RUN:
            return None
        wait = self._shared.fuse.wait(self._shared.clock.monotonic())
        self._shared.note_held(self._command.command_id, "fuse" if wait else None)
        return Hold(wait) if wait else None

    async def _call(self, since: float, launch: Launch) -> Step:
        """Make the announced request; `since` is when the announcement was made."""
        clock, command = self._shared.clock, self._command

        def check() -> None:
            launch.leave()
            late = clock.monotonic() - since > self._shared.guard
            braked = self._shared.brakes.holds(self._verb, command.mission_id)
            if late or braked or self._stop.is_set() or not self._journal.owned:
                raise IntentTooOld

        try:
            answer = await verbs.call(self._shared.client.guarded(check), command)
        except IntentTooOld:
            return Hold(0.0)
        except _ANSWERS as error:
            return verdicts.judge(command, error, clock.now())
        return Settled(verdicts.succeeded(command, answer, clock.now()))

    # The search for the effect of a request that had no clear answer, or for why it was refused

    async def _search(self, watch: Watch) -> Step:
        """Look once for the effect and say what follows."""
        clock, command = self._shared.clock, self._command
        self._shared.note_doubt(command.command_id, there=self.entry.is_open)
        began = clock.monotonic()
        try:
            seen = await effects.look(self._shared.client, command, self.entry, clock)
        except ApiError as error:
            return _later(error)
        except AccessError as error:
            return KeyRefused(error)
        if self._refusal is not None and not self.entry.is_open and isinstance(seen, Nothing):
            seen = replace(seen, certain=True)  # nothing is done again, whatever it shows
        conclusion = watch.conclude(seen, began)
        if isinstance(conclusion, Wait):
            return await self._wait(seen, conclusion.due)
        return await self._concluded(conclusion)

    async def _wait(self, seen: Sight, due: float) -> Step:
        """Wait for the next look, or repeat at once what is the same when it is done twice."""
        at_once = REPEAT[self._verb] is Repeat.AT_ONCE and self._refusal is None
        if isinstance(seen, Nothing) and at_once:
            expired = policy.expired(self._command, self._shared.clock.now())
            if expired is None and self.entry.attempts < MOST_ATTEMPTS:
                self.entry = replace(self.entry, doubt=self._doubt)
                self._watch = None
                return Hold(_backoff(self.entry.attempts))
        if self.entry.is_open:
            await self._tell(_ON_ITS_WAY if isinstance(seen, Effect) else _LOOKING)
        return Hold(max(0.0, due - self._shared.clock.monotonic()))

    async def _concluded(self, seen: Sight) -> Step:
        """Settle the command, or clear it for another attempt."""
        now = self._shared.clock.now()
        if self._refusal is not None and self.entry.doubt is None:
            return Settled(verdicts.confirmed(self._refusal, seen, now))
        if isinstance(seen, Effect):
            telemetry.doubt_settled(self._verb, "found")
            if seen.twice:
                telemetry.carried_out_twice(self._command.command_id, seen.twice)
            return Settled(verdicts.found(seen.by, seen.response, seen.ids, now))
        may_repeat = repeats(self._verb, resolve=self._shared.resolves(self._command))
        if not (may_repeat and isinstance(seen, Nothing)):
            telemetry.doubt_settled(self._verb, "in_doubt")
            return Settled(verdicts.in_doubt(self.entry, self._doubt, now, seen.state))
        telemetry.doubt_settled(self._verb, "absent")
        if self._refusal is not None:
            return Settled(verdicts.impossible(self._refusal, seen.state, now))
        if self.entry.attempts >= MOST_ATTEMPTS:
            return Settled(verdicts.failed(self.entry, self._doubt, now))
        await self._put(self.entry.cleared())
        self._watch = None
        return Hold(_backoff(self.entry.attempts))

    async def _tell(self, found: str) -> None:
        """Publish, once, that the command is in doubt and looked for: this result is not final."""
        origin = self.entry.origin
        if self._doubt.told or origin is None:
            return
        self._doubt = replace(self._doubt, told=True)
        entry = self.entry.doubted(self._doubt)
        outcome = verdicts.in_doubt(entry, self._doubt, self._shared.clock.now(), found)
        reply = await self._shared.replies.route(origin)
        told = self._journal.records.tell(entry, model.fit(outcome), origin, reply, final=False)
        await self._journal.write(entry, told, after=self.entry)
        self.entry = entry

    async def _weighed(self, error: AccessError) -> Step:
        """Say what follows where the key, or this command alone, was refused.

        A refusal while the key works is this command's own answer once it comes again: between the
        request and the probe a new key may have come. Only the API's own word settles it.
        """
        if not await self._shared.gate.lets_in(error):
            self._refusals = 0
            return Hold(0.0)
        self._refusals += 1
        if self._refusals < _REFUSALS:
            return Hold(_backoff(1))
        is_shut_out = self._watch is None and self.entry.attempts >= MOST_ATTEMPTS
        if not (error.own or is_shut_out):
            return Later(str(error))
        return Settled(self._own_answer(error))

    def _own_answer(self, error: AccessError) -> Outcome:
        """Return what a refusal that belongs to this command makes of it."""
        now = self._shared.clock.now()
        if self.entry.is_open:
            return verdicts.in_doubt(self.entry, self._doubt, now, str(error))
        if self._refusal is not None:
            return verdicts.impossible(self._refusal, str(error), now)
        if not error.own:
            return verdicts.shut_out(self.entry, error, now)
        return verdicts.rejected(error, now)

    async def _put(self, entry: Entry) -> None:
        await self._journal.write(entry, after=self.entry)
        self.entry = entry

    async def _pause(self, seconds: float, wake: asyncio.Event | None = None) -> None:
        """Wait, but not past the command's expiry while it can be told EXPIRED."""
        clock, expires_at = self._shared.clock, self._command.expires_at
        if expires_at is not None and self._watch is None and not self.entry.is_open:
            seconds = min(seconds, max(0.0, (expires_at - clock.now()) / SECOND))
        if wake is None:
            await clock.sleep(seconds, self._stop)
        else:
            await until_stopped(clock.sleep(seconds, wake), self._stop)


def _later(error: ApiError, *, counts: bool = True) -> Later:
    """Read again, after the pause that the API asked for."""
    return Later(str(error), error.wait if isinstance(error, RateLimited) else None, counts)


def _backoff(tries: int) -> float:
    """Return a wait that doubles from try to try, with jitter."""
    return min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)
