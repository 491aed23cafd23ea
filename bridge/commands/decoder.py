"""Decoding that sits out an absent schema registry: it proves nothing about a record."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.errors import RegistryAway

RETRY = 2.0
"""Seconds between two tries."""


class Decoder:
    """A codec whose `decode` waits for the registry; `away` says why anyone waits, None if none."""

    def __init__(self, codec: Codec, clock: Clock) -> None:
        self.codec = codec
        self._clock = clock
        self._waiting: list[str] = []

    @property
    def away(self) -> str | None:
        """Why records wait to be decoded."""
        return self._waiting[-1] if self._waiting else None

    @property
    def waiting(self) -> int:
        """How many records wait to be decoded."""
        return len(self._waiting)

    async def decode(
        self, subject: str, data: bytes | None, stop: asyncio.Event, *, arrived: float = 0.0
    ) -> dict[str, Any]:
        """Return the value of a record that came at `arrived`, monotonic.

        Raises InvalidRecord, and RegistryAway only once `stop` is set.
        """
        while True:
            try:
                return await self.codec.decode(subject, data, received=arrived)
            except RegistryAway as error:
                reason = str(error)
                telemetry.dependency_away("registry", reason, of="commands")
                self._waiting.append(reason)
                try:
                    if await self._clock.sleep(RETRY, stop):
                        raise
                finally:
                    self._waiting.remove(reason)
