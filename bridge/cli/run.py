"""`mission-bridge run`: the bridge itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bridge import app
from bridge.cli.shared import Config, load


def run(
    *,
    only: Annotated[
        Literal["events", "commands"] | None,
        typer.Option(help="Run one side alone; the other may run elsewhere."),
    ] = None,
    config: Config = None,
) -> int:
    """Carry events to Kafka and commands to the API until SIGTERM."""
    settings = load(config, "api", "kafka", "registry")
    return app.run(settings, only=only)
