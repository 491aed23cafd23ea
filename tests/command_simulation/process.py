"""One bridge process: the real command side with its client, on a machine of its own."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from random import Random
from typing import Any

from aiokafka import TopicPartition
from simulation.process import CODEC
from simulation.virtual import START, Machine, MachineClock

from bridge.avro.codec import Codec
from bridge.clock import SECOND, Micros
from bridge.commands.engine import Commands
from bridge.errors import RegistryAway
from bridge.health import Health
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from command_simulation.clients import KafkaOn
from command_simulation.network import Network
from command_simulation.stage import COMMANDS, Stage


class Box(Machine):
    """A machine whose process dies or freezes after so many ways in and out, if anybody says so.

    `life` and `nap` count down; a nap begins anew, `every` so often on average.
    """

    def __init__(
        self,
        name: str,
        dies: Callable[[Machine], None],
        *,
        life: int | None,
        freezes: Callable[[Machine], None],
        every: float,
        rng: Random,
    ) -> None:
        super().__init__(name, dies)
        self.life = life
        self._freezes = freezes
        self._every = every
        self._rng = rng
        self.nap = self._next_nap()

    async def gate(self) -> None:
        if self.life is not None:
            self.life -= 1
            if self.life == 0:
                self.die()
        if self.nap is not None:
            self.nap -= 1
            if self.nap == 0:
                self.nap = self._next_nap()
                self._freezes(self)
        await super().gate()

    def _next_nap(self) -> int | None:
        return 1 + int(self._rng.expovariate(1 / self._every)) if self._every else None


class Decoding(Codec):
    """A codec that asks the registry each time, so that its absence shows."""

    @classmethod
    def of(cls, stage: Stage) -> Decoding:
        codec = copy.copy(CODEC)
        codec.__class__ = cls
        codec.stage = stage  # type: ignore[attr-defined]
        return codec  # type: ignore[return-value]

    async def decode(
        self, subject: str, data: bytes | None, *, received: float | None = None
    ) -> dict[str, Any]:
        if self.stage.registry_away:  # type: ignore[attr-defined]
            raise RegistryAway("the registry is away")
        return await super().decode(subject, data, received=received)


class Budget(RateBudget):
    """Lets everything through at once, but for the pauses that the API asks for."""

    async def acquire(self) -> None:
        while (wait := self._closed_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)


class SettableClock(MachineClock):
    """A clock that is off by days until half of the story is over."""

    def __init__(self, stage: Stage, machine: Machine) -> None:
        super().__init__(stage.loop, machine)
        self._off = round(stage.scenario.clock_off * 86_400 * SECOND)
        self._right_from = START + round(stage.scenario.seconds / 2 * SECOND)

    def now(self) -> Micros:
        now = super().now()
        return now if now >= self._right_from else now + self._off


class Process:
    """A bridge that runs until it is killed or ends by itself."""

    def __init__(
        self,
        stage: Stage,
        machine: Machine,
        ended: Callable[[Process, BaseException | None], None],
    ) -> None:
        self.machine = machine
        clock = SettableClock(stage, machine)
        clock.pace = 0.0
        client = MissionsClient(
            base_url="https://api.example.test/v2",
            key=lambda: "KEY0123456789ABCDEF",
            budget=Budget(1.0, clock),
            clock=clock,
            transport=Network(stage, machine),
        )
        health = Health(clock)
        gate = AccessGate(client.probe, clock, health)
        kafka = KafkaOn(stage, machine)
        self.commands = Commands(
            stage.settings,
            kafka,
            client,
            gate,
            Decoding.of(stage),
            clock,
            health,
            {"another": (client, gate)},
        )
        stage.tenures[machine.name] = self._tenure
        self.stop = asyncio.Event()
        self._gate = stage.loop.create_task(gate.run(self.stop))
        self._work = stage.loop.create_task(self.commands.run(self.stop))
        self._work.add_done_callback(
            lambda work: None if work.cancelled() else ended(self, work.exception())
        )

    def _tenure(self, number: int) -> int:
        """Return what is other each time that a partition is taken up anew."""
        held = self.commands._held.get(TopicPartition(COMMANDS, number))
        return 0 if held is None else id(held.partition.journal)
