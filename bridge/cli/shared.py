"""What several commands need: their common options, their settings, and words on stdout."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.avro.registry import Registry
from bridge.config.load import Need, load_settings
from bridge.config.models import RegistrySettings, Settings
from bridge.logs import configure_logging
from bridge.printing import printable, to_json

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings.")
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def load(config: Path | None, *needs: Need) -> Settings:
    """Return the settings, of which only the named branches need be complete; start logging."""
    settings = load_settings(config, frozenset(needs))
    configure_logging(settings.log.level, settings.log.format)
    return settings


def open_registry(settings: RegistrySettings) -> Registry:
    """Return a client of the schema registry."""
    return Registry.of(settings)


def say(line: str, *, err: bool = False) -> None:
    """Write one line on stdout, or on stderr: whatever is in it stays on it."""
    typer.echo(printable(line), err=err)


def say_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object on a line of its own; bytes are base64."""
    typer.echo(to_json(value, default=_base64))


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no JSON type")
