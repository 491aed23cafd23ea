"""`mission-bridge simulate`: serve a simulated Missions API."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bridge.cli.shared import say_json
from bridge.dev.api import simulator
from bridge.dev.api.faults import KINDS, Behaviour
from bridge.errors import ConfigError

_BEHAVIOUR = ", ".join(name for name in Behaviour.model_fields if name != "rate")
_KINDS = ", ".join(kind.model_json_schema()["properties"]["kind"]["const"] for kind in KINDS)


def simulate(
    *,
    port: Annotated[int, typer.Option(help="0 picks a free one.")] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="The same seed makes the same world.")] = 1,
    events: Annotated[int, typer.Option(min=0, help="Past events.")] = 0,
    past: Annotated[
        float, typer.Option(min=1, help="Seconds over which the past events are spread.")
    ] = 7200.0,
    rate: Annotated[float, typer.Option(min=0, help="New events a second.")] = 0.0,
    api_key: Annotated[
        str | None, typer.Option(help="The only key that is accepted; else any is.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help=f"Behaviour: {_BEHAVIOUR}."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="JSON", help=f'{{"kind": K, ...}} with K one of {_KINDS}.'),
    ] = None,
) -> None:
    """Serve a simulated Missions API; prints one JSON line with its URL when it is ready.

    GET /_control/ describes faults, behaviour and the ledger.
    """
    try:
        simulator.run(
            host=host,
            port=port,
            seed=seed,
            events=events,
            rate=rate,
            past=past,
            api_key=api_key,
            behaviour=dict(_pair(text) for text in settings or ()),
            faults=[json.loads(text) for text in fault or ()],
            ready=lambda url: say_json({"event": "ready", "url": url}),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise ConfigError([f"--port: cannot listen on {host}:{port}: {error}"]) from error


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set takes NAME=VALUE, not {text!r}")
    return name, value
