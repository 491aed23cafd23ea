"""`mission-bridge demo`: the whole system on this machine, for a minute."""

from __future__ import annotations

from typing import Annotated

import typer

from bridge.errors import ConfigError


def demo(
    *,
    seconds: Annotated[
        float, typer.Option(min=15, help="How long to watch the bridge at work.")
    ] = 45.0,
) -> int:
    """Show the bridge at work, kill it in the middle, and prove that nothing is lost or doubled.

    Everything runs on this machine and is gone at the end. Exit 1 if the proof fails.
    """
    try:
        from bridge.dev.demo.demo import run  # noqa: PLC0415 - needs packages of the demo alone
    except ModuleNotFoundError as error:
        how = "pip install '.[demo]' in the project's folder, or `make demo`"
        raise ConfigError([f"the demo needs the package {error.name}: {how}"]) from error
    return run(seconds)
