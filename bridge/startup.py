"""First steps with every dependency: reached together, waited for together, told about together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge import telemetry
from bridge.clock import Clock
from bridge.errors import Again, ConfigError, DependencyAway
from bridge.health import Health

START_SECONDS: Final = 60.0
"""How long a dependency may be away when the bridge starts."""

_RETRY: Final = 1.0


@dataclass(frozen=True)
class Dependency:
    """What must be there at start. `name` is its part in Health, `where` its setting and value.

    `step` raises Again while it is away, and ConfigError when it is there and does not fit.
    """

    name: str
    where: str
    step: Callable[[], Awaitable[None]]


async def reach(dependencies: Sequence[Dependency], *, clock: Clock, health: Health) -> None:
    """Take the first step with all dependencies, again while one is away, for START_SECONDS.

    Raises ConfigError with the mistakes of all that answered, else DependencyAway with all that did
    not. Once there is a mistake nobody is waited for.
    """
    limit = clock.monotonic() + START_SECONDS
    mistakes: list[str] = []
    away: list[str] = []

    async def reach_one(each: Dependency) -> None:
        while True:
            try:
                await each.step()
            except ConfigError as error:
                mistakes.extend(error.problems)
                return
            except Again as error:
                health.unready(each.name, str(error))
                telemetry.dependency_away(each.name, str(error))
                if mistakes or clock.monotonic() >= limit:
                    within = f"within {START_SECONDS:.0f} s ({each.where})"
                    away.append(f"{each.name} could not be reached {within}: {error}")
                    return
                await clock.sleep(_RETRY)
            else:
                health.ready(each.name)
                telemetry.dependency_back(each.name)
                return

    async with asyncio.TaskGroup() as group:
        for each in dependencies:
            group.create_task(reach_one(each), name=f"start {each.name}")
    if mistakes:
        raise ConfigError(mistakes)
    if away:
        raise DependencyAway("; ".join(away))
