"""Bridge processes on a bench: a source with its lease and its gate each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiokafka import TopicPartition
from source_bench import LAYOUT, SETTINGS, Bench, client_on
from source_codec import CODEC
from support.fake_kafka import Process

from bridge.clock import Clock
from bridge.health import Health
from bridge.kafka.lease import Lease
from bridge.missions.access import AccessGate
from bridge.source.owner import Source
from bridge.source.writing.publish import Layout

ID = SETTINGS.transactional_id_source("default")


class Owner:
    """One bridge process on a bench: a source with its lease and its gate."""

    def __init__(
        self,
        bench: Bench,
        *,
        assigned: bool = True,
        name: str = "default",
        partitions: int = 1,
        events: int = 6,
        **settings: Any,
    ) -> None:
        clock = bench.clock
        self.health = Health(clock)
        layout = Layout.of(SETTINGS, name, events=events, checkpoints=partitions)
        at = TopicPartition(layout.checkpoint, layout.checkpoint_partition)
        kafka: Any = Process(bench.topics.kafka, clock, {at} if assigned else set())
        self.process: Process = kafka
        client = client_on(bench.api.handle, clock)
        self.gate = AccessGate(client.probe, clock, self.health)
        lease = Lease(kafka, group="g", topic=LAYOUT.checkpoint, clock=clock)
        self.source = Source(
            SETTINGS.model_copy(update=settings),
            bench.settings.model_copy(update={"name": name}),
            kafka=kafka,
            client=client,
            gate=self.gate,
            codec=CODEC,
            lease=lease,
            layout=layout,
            clock=clock,
            health=self.health,
        )
        self.stop = asyncio.Event()
        self.work = asyncio.create_task(self.source.run(self.stop))
        self.tasks = [
            self.work,
            asyncio.create_task(lease.run(self.stop)),
            asyncio.create_task(self.gate.run(self.stop)),
        ]

    @property
    def works(self) -> bool:
        return bool(self.source.status()["state"] != "standing by")

    async def end(self) -> None:
        """Stop as SIGTERM does."""
        self.stop.set()
        await asyncio.wait_for(asyncio.gather(*self.tasks), 10)


Own = Callable[..., Owner]
"""Starts an owner on a bench."""


async def until(condition: Callable[[], object], *owners: Owner, deadline: float = 60.0) -> None:
    """Wait for a condition; what an owner raises meanwhile comes out."""
    clock = Clock()
    end = clock.monotonic() + deadline
    while not condition():
        for owner in owners:
            if owner.work.done():
                owner.work.result()
        assert clock.monotonic() < end, f"not within {deadline} s"
        await clock.sleep(0.001)


def published(bench: Bench, count: int) -> Callable[[], bool]:
    return lambda: len(bench.topics.events()) == count


def opened(bench: Bench) -> int:
    """How many transactional producers were opened since the bench was made."""
    return bench.topics.kafka.epochs[ID] - 1


def assert_exact(bench: Bench) -> None:
    """Everything is published once."""
    ids = [event["event_id"] for event in bench.topics.events()]
    assert len(ids) == len(set(ids)), "published twice"
    assert set(ids) == {event["event_id"] for event in bench.api.events()}
