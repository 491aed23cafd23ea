"""The real codec on an embedded registry, in process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import httpx

from bridge.avro.codec import Codec, load_schemas
from bridge.avro.registry import Registry
from bridge.dev.servers.registry import RegistryServer

EVENTS, CHECKPOINT, AUDITS = (
    "missions.events-value",
    "missions.checkpoint-value",
    "missions.audit-value",
)
T = TypeVar("T")


async def _prepared() -> Codec:
    transport = httpx.ASGITransport(app=RegistryServer().app)
    registry = Registry("http://registry", transport=transport)
    codec, schemas = Codec(registry), load_schemas()
    await codec.prepare(EVENTS, schemas["mission_event"], register=True)
    await codec.prepare(CHECKPOINT, schemas["checkpoint"], register=True)
    await codec.prepare(AUDITS, schemas["audit_record"], register=True)
    await registry.aclose()
    return codec


CODEC: Final = asyncio.run(_prepared())
"""Ready for the topics of a source; what follows needs no registry."""


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it had to wait")


def decode(subject: str, value: bytes | None) -> dict[str, Any]:
    """Decode a value of a subject."""
    return at_once(CODEC.decode(subject, value))
