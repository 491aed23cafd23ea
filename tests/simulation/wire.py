"""The way from a machine to the simulated brokers and back."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, Protocol, TypeVar

from aiokafka import errors

from simulation.brokers import Brokers
from simulation.chaos import Fate
from simulation.virtual import Machine

LATENCIES: Final = (0.002, 0.002, 0.005, 0.02, 0.3)

T = TypeVar("T")


class Backstage(Protocol):
    """The part of a story's stage that clients of Kafka need."""

    @property
    def brokers(self) -> Brokers:
        """The cluster."""

    @property
    def kafka_chance(self) -> Random:
        """The chance of what happens to requests."""

    def tell(self, who: str, what: str) -> None:
        """Add a line to the account, if anybody wants one."""

    def fate(self) -> Fate:
        """Draw what becomes of the next transaction."""


class Wire:
    """A machine's connection to the brokers, and what happens on it."""

    def __init__(self, stage: Backstage, machine: Machine) -> None:
        self.stage = stage
        self.machine = machine
        self.brokers = stage.brokers
        self.rng = stage.kafka_chance

    def tell(self, what: str) -> None:
        """Add a line to the account."""
        self.stage.tell(self.machine.name, what)

    async def ask(self, request: Callable[[], T]) -> T:
        """Send a request and get its answer; ask again while the coordinator is busy."""
        while True:
            await self.machine.travel(self.rng.choice(LATENCIES))
            if self.brokers.away:
                await self.machine.travel(2.0)
                raise errors.KafkaConnectionError("no broker")
            try:
                answer = request()
            except errors.ConcurrentTransactions:
                continue
            await self.machine.gate()
            return answer
