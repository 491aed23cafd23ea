"""`mission-bridge topics`: what topics there should be, and making them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

import typer

from bridge.cli.shared import Config, Json, load, say, say_json
from bridge.clock import Clock
from bridge.config.models import Settings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK
from bridge.kafka import topics
from bridge.kafka.client import KafkaClient

group = typer.Typer(no_args_is_help=True, help="The bridge's topics.")


@group.command()
def plan(*, config: Config = None, as_json: Json = False) -> int:
    """Show what `apply` would do; changes nothing. Exit 1 if there is anything to do."""
    settings = load(config, "kafka")
    changes = asyncio.run(_plan(settings))
    _tell(changes, as_json=as_json, done=False)
    return EXIT_DIFFERENCE if changes else EXIT_OK


@group.command()
def apply(*, config: Config = None, as_json: Json = False) -> int:
    """Create the topics that are missing and mend what `run` refuses; may be repeated."""
    settings = load(config, "kafka")
    changes = asyncio.run(_apply(settings))
    _tell(changes, as_json=as_json, done=True)
    return EXIT_OK


async def _plan(settings: Settings) -> list[topics.TopicChange]:
    specs = topics.topic_specs(settings.kafka.topic_prefix)
    kafka = KafkaClient(settings.kafka)
    return await topics.plan(kafka, specs, settings.kafka.replication_factor)


async def _apply(settings: Settings) -> list[topics.TopicChange]:
    changes = await _plan(settings)
    await topics.apply(KafkaClient(settings.kafka), changes, Clock())
    return changes


def _tell(changes: Sequence[topics.TopicChange], *, as_json: bool, done: bool) -> None:
    if as_json:
        say_json({"applied": done, "changes": [asdict(change) for change in changes]})
        return
    for change in changes:
        say(f"{'done: ' if done else ''}{change}")
    if not changes:
        say("nothing to do: the topics are as they should be")
