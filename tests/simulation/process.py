"""One bridge process: the real source with its client, on a machine of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx

from bridge.avro.codec import Codec
from bridge.avro.registry import Registry
from bridge.avro.subjects import subjects
from bridge.config.models import Settings, SourceSettings
from bridge.dev.servers.registry import RegistryServer
from bridge.health import Health
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.owner import Source
from bridge.source.writing.publish import Layout
from simulation.clients import KafkaOn
from simulation.network import Network
from simulation.scenario import Scenario
from simulation.stage import Stage
from simulation.virtual import START, Machine, MachineClock, seconds

SETTINGS: Final = Settings()

NOWHERE: Final = httpx.AsyncBaseTransport()
"""Nothing of a story goes through httpx."""

LAYOUT: Final = Layout.of(SETTINGS, "default", events=3, checkpoints=1)
"""Of every source: all have their checkpoints on one partition."""


async def _prepared() -> Codec:
    transport = httpx.ASGITransport(app=RegistryServer().app)
    registry = Registry("http://registry", transport=transport)
    codec = Codec(registry)
    for subject, (schema, _) in subjects(SETTINGS.kafka.topic_prefix).items():
        await codec.prepare(subject, schema, register=True)
    await registry.aclose()
    return codec


CODEC: Final = asyncio.run(_prepared())
"""Ready for every topic; what follows needs no registry."""


class SeatInGroup:
    """What a lease shows: the group itself is the story's."""

    def __init__(self) -> None:
        self.owned: frozenset[int] = frozenset()
        self.joined = True
        self.trouble: str | None = None
        self.changed = asyncio.Event()

    def give(self, *, owned: bool) -> None:
        self.owned = frozenset({LAYOUT.checkpoint_partition} if owned else ())
        self.changed.set()


class Process:
    """A bridge that runs until it is killed or ends by itself."""

    def __init__(
        self,
        stage: Stage,
        machine: Machine,
        ended: Callable[[Machine, BaseException | None], None],
        naps: Callable[[Machine, float], None],
    ) -> None:
        self.machine = machine
        self.clock = clock = MachineClock(stage.loop, machine, naps)
        self.seat = SeatInGroup()
        client = MissionsClient(
            base_url="https://api.example.test/v2",
            key=lambda: "KEY0123456789ABCDEF",
            budget=RateBudget(1e6, clock),
            clock=clock,
            transport=NOWHERE,
        )
        wire: Any = Network(stage, machine)
        client._wire = wire
        health = Health(clock)
        gate = AccessGate(client.probe, clock, health)
        kafka: Any = KafkaOn(stage, machine)
        seat: Any = self.seat
        self.source = Source(
            SETTINGS.model_copy(update={"delivery": stage.scenario.delivery}),
            source_settings(stage.scenario, stage.source),
            kafka=kafka,
            client=client,
            gate=gate,
            codec=CODEC,
            lease=seat,
            layout=LAYOUT,
            clock=clock,
            health=health,
        )
        stop = asyncio.Event()
        self._work = asyncio.create_task(self.source.run(stop))
        self._gate = asyncio.create_task(gate.run(stop))
        self._work.add_done_callback(
            lambda work: None if work.cancelled() else ended(machine, work.exception())
        )

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the source takes for its checkpoint.

        None while it owns nothing, or was fenced: it learns that when it has something to write.
        """
        poller = self.source._poller
        if poller is None:
            return None
        producer: Any = poller._committer._writer._producer
        return None if producer.is_fenced else poller.checkpoint

    def abandon(self) -> list[asyncio.Task[None]]:
        """Drop everything in memory; the machine is dead already."""
        self._work.cancel()
        self._gate.cancel()
        return [self._work, self._gate]


def source_settings(scenario: Scenario, source: str) -> SourceSettings:
    """Return settings with pages smaller than users may ask for: a story is then cheap."""
    start = scenario.start
    return SourceSettings.model_construct(
        **{
            **SourceSettings().model_dump(),
            "name": source,
            "start": start if isinstance(start, str) else START + seconds(start),
            "page_size": scenario.page,
            "poll_interval": scenario.poll,
            "lateness": scenario.lateness,
            "lateness_max": 4 * scenario.lateness,
            "audit_interval": scenario.audits,
        }
    )
