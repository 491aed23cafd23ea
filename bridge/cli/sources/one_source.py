"""What the commands about a source share: which one, and what they look at it with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import typer

from bridge.app import EVENT_TOPICS
from bridge.avro.codec import Codec
from bridge.avro.subjects import subject_of, subjects
from bridge.cli.shared import open_registry
from bridge.clock import Clock, Micros
from bridge.config.models import Settings, SourceSettings
from bridge.config.types import parse_start
from bridge.errors import ConfigError
from bridge.kafka.client import KafkaClient
from bridge.kafka.topics import check, partition_counts, topic_specs
from bridge.missions.client import MissionsClient
from bridge.missions.pacing import RateBudget
from bridge.source.checkpoint.position import Climb
from bridge.source.reading.windows import BEGINNING
from bridge.source.takeover import Desk
from bridge.source.tools.access import SourceAccess
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Layout

Name = Annotated[
    str | None, typer.Option("--source", metavar="NAME", help="Which of several sources.")
]


def chosen(settings: Settings, name: str | None) -> SourceSettings:
    """Return the source with this name, or the only one."""
    names = [source.name for source in settings.sources]
    if name is None and len(names) == 1:
        return settings.sources[0]
    if name is None or name not in names:
        raise typer.BadParameter(f"--source must be one of {', '.join(names)}")
    return settings.sources[names.index(name)]


def timestamp(option: str, text: str) -> Micros:
    """Return the value of an option that is a timestamp."""
    try:
        at = parse_start(text)
    except ValueError:
        at = None
    if not isinstance(at, int):
        raise typer.BadParameter(
            f"{option} must be a timestamp with its zone, like 2026-01-31T00:00:00Z"
        )
    return at


def climb_object(climb: Climb | None) -> dict[str, Micros | None] | None:
    """Return a climb for JSON; without `low` it has not left the end of the feed."""
    if climb is None:
        return None
    low = None if climb.low == BEGINNING else climb.low
    return {"low": low, "began": climb.began}


@asynccontextmanager
async def view(settings: Settings, source: SourceSettings) -> AsyncIterator[SourceAccess]:
    """Open what looking at a source takes. Raises ConfigError, KafkaAway, RegistryAway."""
    clock, kafka = Clock(), KafkaClient(settings.kafka)
    async with AsyncExitStack() as stack:
        registry = open_registry(settings.registry)
        stack.push_async_callback(registry.aclose)
        codec = Codec(registry)
        known = subjects(settings.kafka.topic_prefix)
        for topic in ("events", "checkpoint", "audit"):
            subject = subject_of(settings.kafka.topic_prefix, topic)
            await codec.prepare(subject, known[subject].schema)
        client = MissionsClient(
            base_url=settings.api.base_url,
            key=lambda: settings.read_api_key(source.name),
            budget=RateBudget(settings.api.rate, clock),
            clock=clock,
            timeout=settings.api.timeout,
            proxy=settings.api.proxy,
            ca_file=settings.api.ca_file,
        )
        stack.push_async_callback(client.aclose)
        desk = Desk(
            source.name,
            settings.api.base_url,
            kafka,
            codec,
            await _layout(settings, source.name, kafka),
            clock,
            settings.kafka.transaction_timeout,
        )
        index = MissionIndex(client, clock, source.name)
        yield SourceAccess(settings, source, desk, client, index)


async def _layout(settings: Settings, name: str, kafka: KafkaClient) -> Layout:
    """Find the source's topics; ConfigError lists those that are missing or wrong."""
    specs = topic_specs(settings.kafka.topic_prefix)
    needed = {short: specs[short] for short in EVENT_TOPICS}
    if problems := await check(kafka, needed):
        raise ConfigError(problems)
    counts = await partition_counts(kafka, needed)
    return Layout.of(settings, name, events=counts["events"], checkpoints=counts["checkpoint"])
