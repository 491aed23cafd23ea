"""`mission-bridge commands`: the brake."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated

import typer

from bridge.avro.codec import Codec
from bridge.avro.subjects import subject_of, subjects
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.clock import Clock, utc
from bridge.commands.brakes.brake import BREAKER, Brake, Scope
from bridge.commands.brakes.brake_tool import Lever
from bridge.commands.model import Verb
from bridge.config.models import Settings
from bridge.errors import EXIT_OK, InvalidId
from bridge.missions import ids

group = typer.Typer(no_args_is_help=True, help="Holding commands back, and letting them go on.")

OneVerb = Annotated[Verb | None, typer.Option("--verb", help="Only commands of this verb.")]
OneMission = Annotated[
    str | None, typer.Option("--mission", metavar="ID", help="Only commands of this mission.")
]


@group.command()
def pause(
    *,
    verb: OneVerb = None,
    mission: OneMission = None,
    reason: Annotated[str | None, typer.Option(help="Why, for those who look later.")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Hold commands back at once, on every bridge of these topics, until `resume`.

    Their requests do not leave; what has left already is brought to its end. Nothing is lost: they
    wait in their order, and expire when they have an expiry.
    """
    scope = _scope(verb, mission)
    brake = Brake(scope.key, scope, _who(), Clock().now(), reason)
    settings = load(config, "kafka", "registry")
    return asyncio.run(_pause(settings, brake, as_json=as_json))


@group.command()
def resume(
    *,
    verb: OneVerb = None,
    mission: OneMission = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Lift what `pause` with the same options set; without any, also what the breaker set.

    Without options it lifts brakes that cannot be read as well, having shown their keys.
    """
    scope = _scope(verb, mission)
    settings = load(config, "kafka", "registry")
    return asyncio.run(_resume(settings, scope, as_json=as_json))


@group.command()
def status(*, config: Config = None, as_json: Json = False) -> int:
    """Show what is held back, since when, by whom and why, and how many commands are not done."""
    settings = load(config, "kafka", "registry")
    return asyncio.run(_status(settings, as_json=as_json))


async def _pause(settings: Settings, brake: Brake, *, as_json: bool) -> int:
    async with _lever(settings) as lever:
        await lever.set(brake)
        return await _show(lever, as_json=as_json)


async def _resume(settings: Settings, scope: Scope, *, as_json: bool) -> int:
    async with _lever(settings) as lever:
        keys = [scope.key]
        if scope == Scope():
            _, unreadable = await lever.brakes()
            for key in unreadable:
                say(f"cannot be read, and is lifted: {key!r}", err=True)
            keys += [BREAKER, *unreadable]
        await lever.lift(keys)
        return await _show(lever, as_json=as_json)


async def _status(settings: Settings, *, as_json: bool) -> int:
    async with _lever(settings) as lever:
        return await _show(lever, as_json=as_json)


@asynccontextmanager
async def _lever(settings: Settings) -> AsyncIterator[Lever]:
    registry = open_registry(settings.registry)
    try:
        codec = Codec(registry)
        prefix = settings.kafka.topic_prefix
        subject = subject_of(prefix, "command-state")
        await codec.prepare(subject, subjects(prefix)[subject].schema)
        yield Lever(settings, codec)
    finally:
        await registry.aclose()


async def _show(lever: Lever, *, as_json: bool) -> int:
    """Print what is held back now."""
    (brakes, unreadable), waiting = await lever.brakes(), await lever.waiting()
    if as_json:
        shown = [brake.shown for brake in brakes]
        say_json({"brakes": shown, "unreadable": unreadable, "not_done": waiting})
        return EXIT_OK
    for line in lines_of(brakes, unreadable):
        say(line)
    if not (brakes or unreadable):
        say("nothing is held back")
    say(f"{waiting} commands are not done")
    return EXIT_OK


def lines_of(brakes: Sequence[Brake], unreadable: Sequence[str]) -> Iterator[str]:
    """Say what each brake holds, since when, by whom and why, and how to lift it."""
    for brake in brakes:
        why = f": {brake.reason}" if brake.reason else ""
        held = f"held: {brake}, since {utc(brake.since)} by {brake.set_by}{why}"
        yield f"{held}; `{brake.lifted_by}` lifts it"
    for key in unreadable:
        yield f"everything is held: the brake {key!r} cannot be read; `commands resume` lifts it"


def _scope(verb: Verb | None, mission: str | None) -> Scope:
    if mission is not None:
        try:
            mission = ids.uuid("--mission", mission).lower()
        except InvalidId as error:
            raise typer.BadParameter(str(error)) from error
    return Scope(None if verb is None else verb.value, mission)


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
