"""What all command partitions of a process share: the API and its limits, rules and counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bridge import telemetry
from bridge.clock import Clock
from bridge.commands import policy
from bridge.commands.brakes.brake import Brakes
from bridge.commands.brakes.breaker import Breaker
from bridge.commands.decoder import Decoder
from bridge.commands.ledger.replies import Replies
from bridge.commands.model import Command
from bridge.config.models import Settings
from bridge.kafka.client import KafkaClient
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient

GUARD = 5.0
"""Seconds from the making of an intent to its request's first byte; later it must not leave. A new
owner counts on it: what a frozen predecessor announced is then either on its way or never sent."""

AT_ONCE = 50
"""Commands that were held back and go on in one turn of the loop: some 0.15 ms each."""


Accounts = Mapping[str, tuple[MissionsClient, AccessGate]]
"""By the name of a source: the client with its key, and the gate before it."""


@dataclass(frozen=True)
class Shared:
    """What all partitions of a process share.

    `slots` bound the commands between intent and answer, `launches` those between intent and first
    byte: about a second's worth of the rate budget, so that no intent grows stale in its queue.
    `api_away` has the reasons of commands that wait for the API, by command_id; `in_doubt` the
    commands whose effect is looked for, `held` those that must wait, with what holds them back:
    `brake` or `fuse`; `held_by` counts them. `turns` bounds how many of them go on in one turn of
    the loop, as thousands at once would keep everything else waiting for seconds. `accounts` are
    the same but for the key, and what depends on it: client, gate and `launches`.
    """

    client: MissionsClient
    gate: AccessGate
    decoder: Decoder
    replies: Replies
    clock: Clock
    rules: policy.Rules
    fuse: policy.Fuse
    slots: asyncio.Semaphore
    concurrency: int
    launches: asyncio.Semaphore
    guard: float
    settle: float
    resolve: bool
    results: Counter[str] = field(default_factory=Counter)
    api_away: dict[str, str] = field(default_factory=dict)
    in_doubt: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)
    held_by: Counter[str] = field(default_factory=Counter)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    brakes: Brakes = field(default_factory=Brakes)
    breaker: Breaker = field(default_factory=Breaker)
    accounts: Mapping[str, Shared] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        settings: Settings,
        kafka: KafkaClient,
        client: MissionsClient,
        gate: AccessGate,
        decoder: Decoder,
        clock: Clock,
        accounts: Accounts,
    ) -> Shared:
        """Make it from the settings. Below 2 requests a second the guard allows for the queue."""
        commands, rate = settings.commands, settings.api.rate
        common = cls(
            client=client,
            gate=gate,
            decoder=decoder,
            replies=Replies(settings, kafka, clock),
            clock=clock,
            rules=policy.Rules.of(commands, accounts),
            fuse=policy.Fuse(commands.max_starts_per_minute),
            slots=asyncio.Semaphore(commands.concurrency),
            concurrency=commands.concurrency,
            launches=_launches(rate),
            guard=max(GUARD, 10 / rate),
            settle=commands.settle,
            resolve=commands.on_doubt == "resolve",
        )
        own = {
            name: replace(common, client=client, gate=gate, launches=_launches(rate))
            for name, (client, gate) in accounts.items()
            if client is not common.client
        }
        return replace(common, accounts={name: own.get(name, common) for name in accounts})

    def of_account(self, name: str | None) -> Shared | None:
        """Return what the commands of an account share; None if there is no such account."""
        return self if name is None else self.accounts.get(name)

    def resolves(self, command: Command) -> bool:
        """Say whether a request without an effect may be repeated where twice is not the same."""
        return self.resolve and command.on_doubt != "strict"

    def note_doubt(self, command_id: str, *, there: bool) -> None:
        """Remember, and tell, whether a command's effect is looked for."""
        (self.in_doubt.add if there else self.in_doubt.discard)(command_id)
        telemetry.commands_in_doubt(len(self.in_doubt))

    def note_held(self, command_id: str, by: Literal["brake", "fuse"] | None) -> None:
        """Remember, and tell, what holds a command back; None: nothing."""
        before = self.held.pop(command_id, None)
        if before is not None:
            self.held_by[before] -= 1
        if by is not None:
            self.held[command_id] = by
            self.held_by[by] += 1
        if before != by:
            telemetry.commands_held(self.held_by)


def _launches(rate: float) -> asyncio.Semaphore:
    return asyncio.Semaphore(max(1, int(rate)))


class Launch:
    """A place among those who are about to send, given up at the first byte or at the end."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = False

    async def __aenter__(self) -> Launch:
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
