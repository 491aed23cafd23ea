"""The gate that shuts when the API refuses the key, and opens when a probe passes again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bridge import telemetry
from bridge.clock import Clock, until_stopped
from bridge.errors import AccessError, ApiError, ApiRejected
from bridge.health import Health

PROBE_SECONDS = 10.0


class AccessGate:
    """Open at first. Callers wait at it before their work and shut it with an AccessError.

    `probe` is a cheap authorised call that reads the key anew; `name` is the part in `Health`.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        clock: Clock,
        health: Health,
        name: str = "api key",
    ) -> None:
        self._probe = probe
        self._clock = clock
        self._health = health
        self._name = name
        self._open = asyncio.Event()
        self._open.set()
        self._shut = asyncio.Event()
        self._asking = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the key is thought to work."""
        return self._open.is_set()

    def refuse(self, error: AccessError) -> None:
        """Shut the gate: the API refused the key."""
        reason = (
            f"the API refuses the key ({error.status}); "
            f"it is read and tried again every {PROBE_SECONDS:g} s"
        )
        self._health.unready(self._name, reason)
        self._open.clear()
        self._shut.set()
        telemetry.dependency_away(self._name, reason)

    async def lets_in(self, error: AccessError) -> bool:
        """Probe after a refusal, and shut the gate unless the key is let in.

        True: the key works, the refusal belongs to the one request. Nobody else notices then.
        """
        async with self._asking:
            if self.is_open:
                try:
                    await self._probe()
                except AccessError as refusal:
                    self.refuse(refusal)
                except ApiError:
                    self.refuse(error)  # no usable answer says nothing about the key
                except ApiRejected:
                    pass
            return self.is_open

    async def wait_open(self, stop: asyncio.Event) -> bool:
        """Wait until the gate is open; False if `stop` was set."""
        while not (self.is_open or stop.is_set()):
            await _either(self._open, stop)
        return not stop.is_set()

    async def run(self, stop: asyncio.Event) -> None:
        """Probe while the gate is shut, at once and then every PROBE_SECONDS, until `stop`."""
        while not stop.is_set():
            if self.is_open:
                await _either(self._shut, stop)
            elif not await until_stopped(self.turn(), stop):
                await self._clock.sleep(PROBE_SECONDS, stop)

    async def turn(self) -> bool:
        """Probe once and open the gate if the key is let in; True if it was."""
        try:
            await self._probe()
        except AccessError as error:
            self.refuse(error)
            return False
        except ApiError:
            return False  # no usable answer says nothing about the key
        except ApiRejected:
            pass  # the key was let in; what else is wrong belongs to those who ask
        self._shut.clear()
        self._open.set()
        self._health.ready(self._name)
        telemetry.dependency_back(self._name)
        return True


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
