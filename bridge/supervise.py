"""Who owns the loops: starts them, ends all when one ends, and drains them within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from bridge.clock import Clock
from bridge.errors import ConfigError, DependencyAway, StateError
from bridge.health import Health
from bridge.telemetry import log

Loop = Callable[[asyncio.Event], Awaitable[None]]
"""A loop that ends its step and returns once the event is set."""

CLOSE_SECONDS: Final = 10.0
"""Seconds for a helper to end, and for any loop to close what it opened once it is cancelled."""

RESTARTS: Final = 10
"""Failures in a row, about five minutes of them, after which a side ends the process."""

LONGEST_WAIT: Final = 60.0
"""Seconds before a side is begun anew; at first one, then twice as many each time."""

SOUND_AFTER: Final = 600.0
"""Seconds of work after which a failure is the first one again."""

_log = log(__name__)


def restarted(part: str, make: Callable[[], Loop], *, clock: Clock, health: Health) -> Loop:
    """Return a loop that makes a side anew when it fails, so that others go on meanwhile.

    `part` is the side's in Health. Raises the side's failure after RESTARTS of them in a row, at
    once where the configuration or stored state is at fault or the process is about to end.
    """

    async def run(stop: asyncio.Event) -> None:
        failures = 0
        while True:
            began = clock.monotonic()
            try:
                await make()(stop)
            except (ConfigError, StateError, DependencyAway):
                raise
            except Exception as error:
                failures = 1 if clock.monotonic() - began >= SOUND_AFTER else failures + 1
                if failures > RESTARTS or stop.is_set():
                    raise
                wait = min(2.0 ** (failures - 1), LONGEST_WAIT)
                health.unready(part, f"failed, begins anew in {wait:g} s: {error!r}")
                _log.exception("side_failed", side=part, failures=failures, wait=wait)
                if await clock.sleep(wait, stop):
                    raise
            else:
                return

    return run


async def supervise(
    workers: Mapping[str, Loop],
    helpers: Mapping[str, Loop],
    stop: asyncio.Event,
    *,
    grace: float,
) -> None:
    """Run all loops until `stop` is set or one of them ends; then drain them.

    Workers end first, with `grace` seconds to finish their step; helpers, whom workers need to
    finish, end after them. A loop that does not end in time is cancelled and named: draining takes
    `grace` and three times CLOSE_SECONDS at most. Raises what the first failed loop raised; the
    others' failures are logged.
    """
    helpers_stop = asyncio.Event()
    running = {
        asyncio.create_task(_run(loop, ending), name=name): ending
        for loops, ending in ((workers, stop), (helpers, helpers_stop))
        for name, loop in loops.items()
    }
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    ended = [task for task in running if task.done()]
    for ending, seconds in ((stop, grace), (helpers_stop, CLOSE_SECONDS)):
        ending.set()
        await _drain([task for task, its in running.items() if its is ending], seconds)
    _raise_first([*ended, *(task for task in running if task not in ended)])


async def _run(loop: Loop, stop: asyncio.Event) -> None:
    await loop(stop)


async def _drain(tasks: list[asyncio.Task[None]], grace: float) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace)
    for task in late:
        _log.error("loop_did_not_end", loop=task.get_name(), seconds=grace)
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=CLOSE_SECONDS)


def _raise_first(tasks: list[asyncio.Task[None]]) -> None:
    """Raise the first failure in order of time; log the rest."""
    failures = [
        (task, task.exception())
        for task in tasks
        if task.done() and not task.cancelled() and task.exception() is not None
    ]
    for task, error in failures[1:]:
        _log.error("loop_failed_too", loop=task.get_name(), error=repr(error))
    if failures:
        task, error = failures[0]
        _log.error("loop_failed", loop=task.get_name(), error=repr(error))
        raise error  # type: ignore[misc]
