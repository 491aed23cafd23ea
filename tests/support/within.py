"""A bridge inside the test's own process, for tests that take one of its cures away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from bridge.app import Bridge, Only
from bridge.clock import Clock
from bridge.config.load import load_settings
from bridge.kafka.consumer import Received, read_partition
from support.kafka import read_topic
from support.stage import Stage


class BridgeWithin:
    """One bridge that carries events, or commands."""

    def __init__(self, scene: Stage, only: Only) -> None:
        settings = load_settings(None, environ=scene.env())
        self._bridge = Bridge(settings, only, Clock())
        self._stop = asyncio.Event()
        self._running = asyncio.create_task(self._run())

    def source(self) -> dict[str, Any]:
        """What /status shows of its source; nothing before it is there."""
        sources = self._bridge._status()["sources"]
        return dict(sources[0]) if sources else {}

    @property
    def published(self) -> int:
        """How many events it takes to be published; -1 while it stands by."""
        return int(self.source().get("published", -1))

    async def end(self) -> None:
        """Let it drain. Raises what ended it before."""
        self._stop.set()
        await asyncio.wait_for(self._running, 60)

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            await self._bridge.run(stack, self._stop)


@asynccontextmanager
async def bridge_within(scene: Stage, only: Only = "events") -> AsyncIterator[BridgeWithin]:
    """Run a bridge on a stage."""
    bridge = BridgeWithin(scene, only)
    try:
        yield bridge
    finally:
        await bridge.end()


def watch_reading(
    scene: Stage, reader: str, monkeypatch: pytest.MonkeyPatch, *, to_its_claim: bool
) -> asyncio.Event:
    """Return what is set when a module reads a partition of the bridge's memory.

    It reads up to its own claim as always, or only what readers of committed records see now.
    """
    reading = asyncio.Event()

    async def read(
        kafka: Any, topic: str, partition: int, *, until: Any, timeout: float
    ) -> AsyncIterator[Received]:
        reading.set()
        shown = await asyncio.to_thread(read_topic, scene.broker, topic)
        ends = [record.offset for record in shown if record.partition == partition]

        def last(record: Received) -> bool:
            return bool(record.offset == ends[-1])

        if to_its_claim or ends:
            where = until if to_its_claim else last
            async for record in read_partition(
                kafka, topic, partition, until=where, timeout=timeout
            ):
                yield record

    monkeypatch.setattr(f"bridge.{reader}.read_partition", read)
    return reading
