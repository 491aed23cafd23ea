"""A bridge inside the test's own process, for tests that take one of its cures away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config import load_settings
from support.stage import Stage


class BridgeWithin:
    """One bridge that carries events."""

    def __init__(self, scene: Stage) -> None:
        settings = load_settings(None, environ=scene.env())
        self._bridge = Bridge(settings, "events", Clock())
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
async def bridge_within(scene: Stage) -> AsyncIterator[BridgeWithin]:
    """Run a bridge on a stage."""
    bridge = BridgeWithin(scene)
    try:
        yield bridge
    finally:
        await bridge.end()
