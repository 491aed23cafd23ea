"""Commands as the demo sends them: Avro records on the commands topic, as any producer writes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from bridge.avro.codec import NAMESPACE, Codec
from bridge.avro.registry import Registry
from bridge.avro.subjects import subject_of, subjects
from bridge.clock import Clock
from bridge.dev.demo.stage import PREFIX, Stage
from bridge.kafka.partition import murmur2
from bridge.kafka.producer import Record, Writer

_TOPIC = f"{PREFIX}.commands"
_WRITE_SECONDS = 30.0


class Sender:
    """Writes commands about one mission and its runs."""

    def __init__(self, writer: Writer, codec: Codec, partitions: int, mission_id: str) -> None:
        self._writer = writer
        self._codec = codec
        self._partitions = partitions
        self._mission_id = mission_id
        self._clock = Clock()

    async def send(
        self, command_id: str, verb: str, run_id: str | None, body: Mapping[str, Any]
    ) -> None:
        """Put a command on Kafka; start_run needs no run. Free objects of the body become text."""
        fields = {
            name: json.dumps(value) if isinstance(value, dict) else value
            for name, value in body.items()
        }
        branch = "".join(word.capitalize() for word in verb.split("_"))
        value = {
            "command_id": command_id,
            "type": verb,
            "mission_id": self._mission_id,
            "run_id": run_id,
            "issued_at": self._clock.now(),
            "issuer": "the demo",
            "body": (f"{NAMESPACE}.{branch}", fields),
        }
        key = (run_id or self._mission_id).encode()
        data = self._codec.encode(subject_of(PREFIX, "commands"), value)
        await self._writer.commit([Record(_TOPIC, murmur2(key, self._partitions), key, data)])


@asynccontextmanager
async def sending(stage: Stage, mission_id: str) -> AsyncIterator[Sender]:
    """Open a sender of commands about a mission."""
    registry = Registry(stage.registry_url)
    try:
        codec = Codec(registry)
        subject = subject_of(PREFIX, "commands")
        await codec.prepare(subject, subjects(PREFIX)[subject].schema)
        writer = await Writer.open(
            stage.kafka, None, role="demo", clock=Clock(), timeout=_WRITE_SECONDS
        )
        try:
            yield Sender(writer, codec, await writer.partitions(_TOPIC), mission_id)
        finally:
            await writer.close()
    finally:
        await registry.aclose()
