"""Time that passes only while everybody waits, and the machines that live in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from bridge.clock import SECOND, Clock, Micros

START: Final[Micros] = 1_773_057_600 * SECOND
"""The wall clock at the beginning of each story."""

SHORTEST: Final = 1.0
"""Seconds of a nap at least: a process that stands by would fill a story with shorter ones."""


class Stuck(Exception):
    """Nothing is left that could ever happen."""


class VirtualLoop(asyncio.base_events.BaseEventLoop):
    """An event loop whose time jumps to the next timer when nothing is ready.

    It is its own selector: there are no sockets, so to wait is to move the clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._selector = self
        self.set_exception_handler(lambda _loop, _context: None)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Stuck("nothing is left that could happen")
        self._now += timeout
        return []

    def _process_events(self, _events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class Machine:
    """A computer with one process on it; it may freeze for a while, and it dies once."""

    def __init__(self, name: str, dies: Callable[[Machine], None]) -> None:
        self.name = name
        self.dead = False
        self._dies = dies
        self._awake = asyncio.Event()
        self._awake.set()

    @property
    def is_frozen(self) -> bool:
        return not self._awake.is_set()

    def freeze(self) -> None:
        self._awake.clear()

    def thaw(self) -> None:
        self._awake.set()

    def die(self) -> None:
        """Nothing of it reaches the world any more, and nothing of the world reaches it."""
        if not self.dead:
            self.dead = True
            self._awake.set()
            self._dies(self)

    async def gate(self) -> None:
        """Every way in and out leads through here: shut while frozen, and for good once dead."""
        if self.is_frozen:
            await self._awake.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def travel(self, seconds: float) -> None:
        """Let a request be under way for so long."""
        await self.gate()
        await passing(seconds)
        await self.gate()


class MachineClock(Clock):
    """The clock of a machine. Naps last at least `pace`; `naps` is told how long each should."""

    def __init__(
        self,
        loop: VirtualLoop,
        machine: Machine,
        naps: Callable[[Machine, float], None] = lambda _machine, _seconds: None,
    ) -> None:
        self._loop = loop
        self._machine = machine
        self._naps = naps
        self.pace = SHORTEST

    def now(self) -> Micros:
        return wall(self._loop)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        await self._machine.gate()
        self._naps(self._machine, seconds)
        lasting = max(seconds, self.pace) if seconds > 0 else 0.0
        stopped = await super().sleep(lasting, stop)
        await self._machine.gate()
        return stopped


async def passing(seconds: float) -> None:
    """Wait until so much time has passed."""
    await asyncio.sleep(seconds)  # noqa: TID251 - on this loop it is simulated time


def seconds(count: float) -> Micros:
    """Return seconds in microseconds."""
    return round(count * SECOND)


def wall(loop: VirtualLoop) -> Micros:
    """Return what clocks show now."""
    return START + round((loop.time() - 1000.0) * SECOND)
