"""Who owns the loops: starts them, ends all when one ends, and drains them within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from bridge.telemetry import log

Loop = Callable[[asyncio.Event], Awaitable[None]]
"""A loop that ends its step and returns once the event is set."""

CLOSE_SECONDS: Final = 10.0
"""Seconds for a helper to end, and for any loop to close what it opened once it is cancelled."""

_log = log(__name__)


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
