"""One command from its first attempt to its outcome.

    gate open -> slot -> turn to launch -> not expired, fuse -> INTENT durable -> request
         ^                                                                          |
         '--- wait <--- WITHDRAWN durable <--- surely not carried out --------------+--> outcome

Nothing but the request and the two records around it happens while a slot is held: what waits for
the API, the key or the fuse does not keep others from going on.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from bridge import telemetry
from bridge.clock import SECOND, Clock
from bridge.commands import policy, verbs
from bridge.commands.decoder import Decoder
from bridge.commands.journal import Journal
from bridge.commands.model import Command, Entry, Kind, Outcome, Verb
from bridge.commands.verbs import KeyRefused, Later, LookAtRun, Settled
from bridge.config import Settings
from bridge.errors import AccessError, ApiError, ApiRejected, InvalidId
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient

GUARD = 5.0
"""Seconds from the making of an intent to its request's first byte; later it must not leave. A new
owner counts on it: what a frozen predecessor announced is then either on its way or never sent."""

_SHORTEST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class Stale(Exception):
    """The announcement is too old, or no longer ours: the request must not leave."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Not attempted: look again after so many seconds."""

    seconds: float


Step = Settled | Later | KeyRefused | Hold


@dataclass(frozen=True)
class Shared:
    """What all partitions of a process share.

    `slots` bound the commands between intent and answer, `launches` those between intent and first
    byte: about a second's worth of the rate budget, so that no intent grows stale in its queue.
    `api_away` has the reasons of commands that wait for the API, by command_id.
    """

    client: MissionsClient
    gate: AccessGate
    decoder: Decoder
    clock: Clock
    rules: policy.Rules
    fuse: policy.Fuse
    slots: asyncio.Semaphore
    launches: asyncio.Semaphore
    guard: float
    results: Counter[str] = field(default_factory=Counter)
    api_away: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: Settings,
        client: MissionsClient,
        gate: AccessGate,
        decoder: Decoder,
        clock: Clock,
    ) -> Shared:
        """Make it from the settings. Below 2 requests a second the guard allows for the queue."""
        commands, rate = settings.commands, settings.api.rate
        return cls(
            client=client,
            gate=gate,
            decoder=decoder,
            clock=clock,
            rules=policy.Rules.of(commands),
            fuse=policy.Fuse(commands.max_starts_per_minute),
            slots=asyncio.Semaphore(commands.concurrency),
            launches=asyncio.Semaphore(max(1, int(rate))),
            guard=max(GUARD, 10 / rate),
        )


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
        self.entry = entry

    async def run(self) -> Outcome | None:
        """Return the outcome, or None if `stop` was set first: then the ledger has no open intent.

        Raises Overtaken (decide anew) and what ended the journal.
        """
        tries = 0
        try:
            while await self._shared.gate.wait_open(self._stop):
                step = await self._attempt()
                match step:
                    case Settled(outcome):
                        return outcome
                    case Hold(seconds):
                        await self._pause(seconds)
                    case KeyRefused(error):
                        if (refusal := await self._refused(error)) is not None:
                            return refusal
                    case Later(reason, wait, counts):
                        tries += 1
                        if counts:  # a 429 is no absence
                            self._shared.api_away[self._command.command_id] = reason
                            telemetry.dependency_away("api", reason, of="commands")
                        await self._pause(_backoff(tries) if wait is None else wait)
            return None
        finally:
            self._shared.api_away.pop(self._command.command_id, None)

    async def _attempt(self) -> Step:
        """Announce the request and make it, if nothing speaks against it now."""
        shared = self._shared
        async with shared.slots, _Launch(shared.launches) as launch:
            step: Step | None = self._obstacle()
            if step is None:
                since = shared.clock.monotonic()
                await self._put(self.entry.attempting(shared.clock.now()))
                step = await self._call(since, launch)
        if self.entry.kind is Kind.INTENT and not isinstance(step, Settled):
            counts = not isinstance(step, Hold) and step.counts
            await self._put(self.entry.withdrawn(counts=counts))
        return step

    def _obstacle(self) -> Step | None:
        """Say why no request may be announced now, None if nothing stands in its way."""
        clock, command = self._shared.clock, self._command
        if self._stop.is_set() or not self._shared.gate.is_open:
            return Hold(0.0)
        if (outcome := policy.expired(command, clock.now())) is not None:
            return Settled(outcome)
        if command.type == Verb.START_RUN and (wait := self._shared.fuse.wait(clock.monotonic())):
            return Hold(wait)
        return None

    async def _call(self, since: float, launch: _Launch) -> Step:
        """Make the announced request; `since` is when the announcement was made."""
        clock, command = self._shared.clock, self._command

        def check() -> None:
            launch.leave()
            late = clock.monotonic() - since > self._shared.guard
            if late or self._stop.is_set() or not self._journal.owned:
                raise Stale

        try:
            answer = await verbs.call(self._shared.client.guarded(check), command)
        except Stale:
            return Hold(0.0)
        except (ApiError, AccessError, ApiRejected, InvalidId) as error:
            verdict = verbs.judge(command, self.entry, error, clock.now())
            return await self._look(verdict.refusal) if isinstance(verdict, LookAtRun) else verdict
        return Settled(verbs.succeeded(command, answer, clock.now()))

    async def _look(self, refusal: ApiRejected) -> Step:
        """Find out whether a refused verb was superfluous."""
        clock = self._shared.clock
        try:
            status = await verbs.status_of(self._shared.client, self._command)
        except ApiError as error:
            return Later(str(error))
        except AccessError as error:
            return KeyRefused(error)
        except (ApiRejected, InvalidId):
            return Settled(verbs.rejected(refusal, clock.now()))
        return Settled(verbs.looked_at(self._command, refusal, status, clock.now()))

    async def _refused(self, error: AccessError) -> Outcome | None:
        """Shut the gate; a 403 while the key works otherwise is this command's own answer."""
        gate = self._shared.gate
        gate.refuse(error)
        if error.status == 403 and await gate.turn():
            return verbs.rejected(error, self._shared.clock.now())
        return None

    async def _put(self, entry: Entry) -> None:
        await self._journal.write(entry, after=self.entry)
        self.entry = entry

    async def _pause(self, seconds: float) -> None:
        """Wait, but not past the command's expiry."""
        clock, expires_at = self._shared.clock, self._command.expires_at
        if expires_at is not None:
            seconds = min(seconds, max(0.0, (expires_at - clock.now()) / SECOND))
        await clock.sleep(seconds, self._stop)


class _Launch:
    """A place among those who are about to send, given up at the first byte or at the end."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False

    async def __aenter__(self) -> _Launch:
        await self._places.acquire()
        self._held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let another one go; once."""
        if self._held:
            self._held = False
            self._places.release()


def _backoff(tries: int) -> float:
    """Return a wait that doubles from try to try, with jitter."""
    return min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1.0)
