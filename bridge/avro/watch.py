"""Looks from time to time whether the registry still means by our schema ids what we write."""

from __future__ import annotations

import asyncio
from typing import Final

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.errors import RegistryAway
from bridge.health import Health

VERIFY_SECONDS: Final = 15.0
"""Between two looks; what is written with an id that changed is not noticed for so long."""

AGAIN_SECONDS: Final = 2.0
"""... while the last one found something wrong."""


async def watch(codec: Codec, clock: Clock, health: Health, stop: asyncio.Event) -> None:
    """Let `codec` verify its ids until `stop`; readiness says when they are wrong.

    A registry that does not answer changes nothing: what it said last goes on to hold.
    """
    seconds = VERIFY_SECONDS
    while not await clock.sleep(seconds, stop):
        try:
            await codec.verify()
        except RegistryAway:
            continue
        if codec.trouble is not None:
            telemetry.dependency_away("registry", codec.trouble, of="schema ids")
            health.unready("registry", codec.trouble)
            seconds = AGAIN_SECONDS
        else:
            telemetry.dependency_back("registry", of="schema ids")
            health.ready("registry")
            seconds = VERIFY_SECONDS
