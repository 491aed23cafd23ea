"""The only reader of time: wall clock, monotonic clock, and waiting that stops when asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

Micros = int
"""A point in time: microseconds since 1970-01-01 UTC, as Avro's timestamp-micros."""

SECOND: Micros = 1_000_000

EARLIEST: Final[Micros] = -62_135_596_800 * SECOND
LATEST: Final[Micros] = 253_402_300_800 * SECOND - 1
"""The first and the last moment of years 1 to 9999: what every reader of Avro can show."""

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def utc(time: Micros) -> str:
    """Return a point in time for people, to the millisecond; outside years 1..9999 its number."""
    try:
        moment = _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return str(time)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Clock:
    """Real time. Tests hand in an object with the same three methods and time of its own."""

    def now(self) -> Micros:
        """Wall clock time in microseconds UTC."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()

    async def sleep(self, seconds: float, stop: asyncio.Event | None = None) -> bool:
        """Wait `seconds`, or less if `stop` is set meanwhile; True if it was set."""
        if stop is None:
            await asyncio.sleep(seconds)
            return False
        if seconds <= 0:
            await asyncio.sleep(0)
            return stop.is_set()
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            return False
        return True


async def until_stopped(
    work: Coroutine[Any, Any, T], stop: asyncio.Event, grace: float = 0.0
) -> T | None:
    """Return what `work` returns; None if it was cancelled, `grace` seconds after `stop` was set.

    For work that nothing is lost by giving up. Raises what `work` raises.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=grace)
    finally:
        stopping.cancel()
        if working.cancel():
            await asyncio.wait({working})
    return None if working.cancelled() else working.result()
