"""The command line: `mission-bridge`. Each command is thin and returns its exit code.

Exit codes: 0 done; 1 a difference or a failed command; 64 usage; 70 gave up; 75 a dependency could
not be reached; 78 configuration. This module alone turns errors into them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from bridge import __version__
from bridge.cli import schemas, topics
from bridge.cli.commands import brakes, dlq
from bridge.cli.commands.send import send
from bridge.cli.demo import demo
from bridge.cli.run import run
from bridge.cli.shared import say
from bridge.cli.simulate import simulate
from bridge.cli.sources import offsets
from bridge.cli.sources.audit import audit
from bridge.cli.sources.repair import repair
from bridge.cli.sources.why import why
from bridge.cli.tail import tail
from bridge.errors import (
    EXIT_CONFIG,
    EXIT_DIFFERENCE,
    EXIT_GAVE_UP,
    EXIT_OK,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    Again,
    BridgeError,
    ConfigError,
    Never,
    RegistryRefused,
)
from bridge.output import take_over

PROGRAM = "mission-bridge"

app = typer.Typer(
    name=PROGRAM,
    help="Telnyx AI Missions to Apache Kafka and back.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # it may print locals, and among them keys
)
app.command()(run)
app.command()(tail)
app.command()(send)
app.command()(audit)
app.command()(why)
app.command()(repair)
app.command()(demo)
app.command()(simulate)
app.add_typer(topics.group, name="topics")
app.add_typer(offsets.group, name="offsets")
app.add_typer(brakes.group, name="commands")
app.add_typer(schemas.group, name="schemas")
app.add_typer(dlq.group, name="dlq")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        say(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Telnyx AI Missions to Apache Kafka and back."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what went wrong is on stderr.

    Without `arguments` it is the program: it takes the process's command line and streams.
    """
    if arguments is not None:
        return _command(arguments)
    stdout = take_over()
    code = _command(None)
    sys.stdout.flush()
    if stdout.error is None or stdout.abandoned:
        return code
    say(f"{PROGRAM}: cannot write to standard output: {stdout.error.strerror}", err=True)
    return code or EXIT_DIFFERENCE


def _command(arguments: Sequence[str] | None) -> int:
    try:
        code = app(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        return _usage(error)
    except BridgeError as error:
        return _explain(error)
    return code if isinstance(code, int) else EXIT_OK


def exit_code(error: BridgeError) -> int:
    """Return the exit code that an error stands for when nothing handled it before."""
    match error:
        case RegistryRefused():
            return EXIT_CONFIG
        case Again():
            return EXIT_UNAVAILABLE
        case Never():
            return EXIT_DIFFERENCE
    code = getattr(error, "exit_code", EXIT_GAVE_UP)
    return code if isinstance(code, int) else EXIT_GAVE_UP


def _usage(error: typer.TyperException) -> int:
    """Say what is wrong with the command line and where help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else PROGRAM
    message = error.format_message()
    for prefix in ("Invalid value: ", "Value error, "):
        message = message.replace(prefix, "")
    is_help = message.startswith("Usage:")  # a group without a command
    for line in (message if is_help else f"{path}: {message}").split("\n"):
        say(line, err=True)
    if not is_help:
        say(f"`{path} --help` shows what there is", err=True)
    return EXIT_USAGE


def _explain(error: BridgeError) -> int:
    """Say on stderr what went wrong, each problem of a list on a line of its own."""
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        say(f"{PROGRAM}: {len(error.problems)} problems with the configuration:", err=True)
        for problem in error.problems:
            say(f"  - {problem}", err=True)
    else:
        say(f"{PROGRAM}: {error}", err=True)
    return exit_code(error)
