"""`mission-bridge send`: put commands on their topic and, if asked, wait for the results."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.avro.schema import Schema, load_schemas
from bridge.cli.commands.commands_json import read_command, to_record
from bridge.cli.commands.delivery import deliver
from bridge.cli.shared import Config, Json, load
from bridge.clock import SECOND, Clock, Micros
from bridge.errors import InvalidRecord
from bridge.printing import printable


def send(
    verb: Annotated[str | None, typer.Argument(help="start_run, pause_run and so on.")] = None,
    *,
    mission_id: Annotated[str | None, typer.Option(help="The mission.")] = None,
    run_id: Annotated[str | None, typer.Option(help="The run.")] = None,
    body: Annotated[
        str | None, typer.Option(metavar="JSON", help="What the verb needs, as for the API.")
    ] = None,
    command_id: Annotated[
        str | None, typer.Option(help="An id of your own: the same id is carried out once.")
    ] = None,
    expires_in: Annotated[
        float | None,
        typer.Option(min=0, max=1e9, metavar="SECONDS", help="Do not attempt it later."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read one command a line as JSON; - is stdin."),
    ] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait for results so long.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Send a command, or with --file many; with --wait print a result for each.

    Exit 1 if a result says that a command did not succeed, 75 if waiting timed out. Nothing is
    sent if any of the commands is invalid. With --file the output is JSON, one object a line.
    """
    now = Clock().now()
    given = {
        "type": verb,
        "mission_id": mission_id,
        "run_id": run_id,
        "body": body,
        "command_id": command_id,
        "expires_at": None if expires_in is None else now + round(expires_in * SECOND),
    }
    options = {name: value for name, value in given.items() if value is not None}
    if (file is None) != ("type" in options):
        raise typer.BadParameter("give either a verb or --file")
    schema = load_schemas()["mission_command"]
    if file is None:
        commands = [_from_options(options, schema, now)]
    elif options:
        raise typer.BadParameter("--file holds whole commands: give no options for one")
    else:
        commands = from_lines(_read(file), schema, now)
    settings = load(config, "kafka", "registry")
    as_json = as_json or file is not None
    return asyncio.run(deliver(settings, commands, wait, as_json=as_json))


def from_lines(lines: Sequence[bytes], schema: Schema, now: Micros) -> list[dict[str, Any]]:
    """Return a command for each line that is not empty.

    Raises typer.BadParameter that tells of every bad line.
    """
    commands, problems = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            commands.append(to_record(read_command(line), schema, now))
        except InvalidRecord as error:
            problems.append(printable(f"line {number}: {error}"))
    if problems:
        raise typer.BadParameter("\n".join(["nothing was sent", *problems]))
    return commands


def _from_options(options: dict[str, Any], schema: Schema, now: Micros) -> dict[str, Any]:
    try:
        if "body" in options:
            options["body"] = read_command(options["body"])
    except InvalidRecord as error:
        raise typer.BadParameter(f"--body: {error}") from error
    try:
        return to_record(options, schema, now)
    except InvalidRecord as error:
        raise typer.BadParameter(str(error)) from error


def _read(file: str) -> list[bytes]:
    if file == "-":
        return sys.stdin.buffer.read().split(b"\n")
    try:
        return Path(file).read_bytes().split(b"\n")
    except OSError as error:
        raise typer.BadParameter(f"--file: cannot read {file}: {error.strerror}") from error
