"""`mission-bridge schemas`: the bridge's schemas in the registry."""

from __future__ import annotations

import asyncio

import typer

from bridge.avro.subjects import Registration, check_all, register_all
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.config.models import Settings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK

group = typer.Typer(no_args_is_help=True, help="The bridge's schemas in the registry.")


@group.command()
def check(*, config: Config = None, as_json: Json = False) -> int:
    """Say whether the registry has what `run` needs; changes nothing. Exit 1 if it has not."""
    problems = asyncio.run(_check(load(config, "registry")))
    if as_json:
        say_json({"problems": problems})
    else:
        for line in problems or ["the registry has every schema"]:
            say(line)
    return EXIT_DIFFERENCE if problems else EXIT_OK


@group.command()
def register(*, config: Config = None, as_json: Json = False) -> int:
    """Register the schemas that are missing and set compatibility levels; may be repeated."""
    done = asyncio.run(_register(load(config, "registry")))
    if as_json:
        say_json({"subjects": [entry._asdict() for entry in done]})
        return EXIT_OK
    for entry in done:
        state = "registered" if entry.new else "there already"
        say(f"{entry.subject}: id {entry.schema_id}, {state}, {entry.level}")
    return EXIT_OK


async def _check(settings: Settings) -> list[str]:
    registry = open_registry(settings.registry)
    try:
        return await check_all(registry, settings.kafka.topic_prefix)
    finally:
        await registry.aclose()


async def _register(settings: Settings) -> list[Registration]:
    registry = open_registry(settings.registry)
    try:
        return await register_all(registry, settings.kafka.topic_prefix)
    finally:
        await registry.aclose()
