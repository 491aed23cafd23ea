"""`mission-bridge dlq`: what could not be converted, why, and commands once more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from bridge.avro.any_schema import SchemaDecoder
from bridge.cli.commands import letters
from bridge.cli.commands.letters import Letter, LetterPlace, Wanted
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import Clock
from bridge.config.models import Settings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK, InvalidRecord
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import read_partition
from bridge.kafka.partition import PARTITIONERS
from bridge.kafka.producer import Record, Writer
from bridge.kafka.topic_reader import find_topic
from bridge.missions import jsontext

group = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be converted.")

_READ_SECONDS: Final = 30.0
_WRITE_SECONDS: Final = 30.0
_AT_ONCE: Final = 500
_AT_ONCE_BYTES: Final = 8 * 2**20
_SHOWN_BYTES: Final = 256


class Side(StrEnum):
    """Whose dead letters."""

    COMMANDS = "commands"
    EVENTS = "events"


_Side = Annotated[Side, typer.Argument(help="Whose dead letters.")]
_Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="WORD", help="Of this kind (bridge_error_class); repeatable."),
]
_Since = Annotated[
    str | None, typer.Option("--since", metavar="TIMESTAMP", help="Written then or later.")
]
_Key = Annotated[str | None, typer.Option("--key", help="With this key.")]
_Origin = Annotated[
    str | None,
    typer.Option(
        "--origin", metavar="[TOPIC-]PARTITION[:OFFSET]", help="Of records that were read there."
    ),
]


@group.command("list")
def list_(
    side: _Side = Side.COMMANDS,
    *,
    reason: _Reasons = None,
    since: _Since = None,
    key: _Key = None,
    origin: _Origin = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """List dead letters, and count them by reason; changes nothing.

    With --json a line for each letter, and a last one with the counts.
    """
    wanted = _wanted(reason, since, key, origin)
    settings = load(config, "kafka")
    counts = asyncio.run(_list(settings, side, wanted, as_json=as_json))
    if as_json:
        say_json({"letters": counts.total(), "reasons": dict(counts)})
    else:
        for why, count in counts.most_common():
            say(f"{count:>10}  {why}")
        say(f"{counts.total():>10}  dead letters on {_topic(settings, side)}")
    return EXIT_OK


async def _list(settings: Settings, side: Side, wanted: Wanted, *, as_json: bool) -> Counter[str]:
    counts = Counter[str]()
    async with aclosing(_letters(settings, side, wanted)) as found:
        async for letter in found:
            counts[letter.reason] += 1
            if as_json:
                say_json(letters.as_object(letter))
            else:
                say(letters.as_line(letter))
    return counts


@group.command()
def show(
    position: Annotated[
        str, typer.Argument(metavar="PARTITION:OFFSET", help="Where it is, as `list` tells.")
    ],
    side: _Side = Side.COMMANDS,
    *,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Show one dead letter: why it is one, its headers, its value; exit 1 if there is none."""
    at = LetterPlace.parse("PARTITION:OFFSET", position)
    if at.offset is None:
        raise typer.BadParameter("PARTITION:OFFSET lacks the offset")
    settings = load(config, "kafka", "registry")
    found = asyncio.run(_find(settings, side, at))
    if found is None:
        say(f"there is no dead letter {position} on {_topic(settings, side)}", err=True)
        return EXIT_DIFFERENCE
    letter, value, problem = found
    if as_json:
        whole = {"value": value, "problem": problem, "value_base64": letter.record.value}
        say_json({**letters.as_object(letter), "headers": dict(letter.headers), **whole})
    else:
        for line in _lines(letter, value, problem):
            say(line)
    return EXIT_OK


async def _find(
    settings: Settings, side: Side, at: LetterPlace
) -> tuple[Letter, Any, str | None] | None:
    """Return a letter with its value decoded, or with why it cannot be."""
    async with aclosing(_letters(settings, side, Wanted())) as found:
        async for letter in found:
            if at.covers(letter.at):
                return letter, *await _decoded(settings, letter)
    return None


async def _decoded(settings: Settings, letter: Letter) -> tuple[Any, str | None]:
    raw = letter.record.value or b""
    if letter.origin is None:  # a row of the API: its text shows the numbers as they came
        try:
            jsontext.loads(raw)
        except ValueError as error:
            return None, f"not JSON: {error}"
        return raw.decode(), None
    registry = open_registry(settings.registry)
    try:
        return await SchemaDecoder(registry).decode(raw), None
    except InvalidRecord as error:
        return None, str(error)
    finally:
        await registry.aclose()


def _lines(letter: Letter, value: Any, problem: str | None) -> Iterator[str]:
    raw = letter.record.value or b""
    yield letters.as_line(letter)
    if letter.length is not None:
        yield f"stub: it had {letter.length} bytes, too many for a dead letter; the first follow"
    for name, content in letter.headers.items():
        yield f"  {name}: {content}"
    if problem is None:
        yield f"value: {value}"
    else:
        yield f"value: cannot be decoded: {problem}"
    more = " ..." if len(raw) > _SHOWN_BYTES else ""
    yield f"text ({len(raw)} bytes): {raw[:_SHOWN_BYTES].decode(errors='backslashreplace')}{more}"
    yield f"hex: {raw[:_SHOWN_BYTES].hex(' ')}{more}"


@group.command()
def replay(
    side: _Side = Side.COMMANDS,
    *,
    reason: _Reasons = None,
    since: _Since = None,
    key: _Key = None,
    origin: _Origin = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Put back so many at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put back.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Also those that failed, or must fail, again."),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Put commands back on their topic, byte for byte, and print where; exit 1 if any was left out.

    Nothing is remembered: who replays a letter twice writes its command twice, and the command_id
    makes the second a DUPLICATE. A stub, and what must fail again (JSON, too many bytes), is never
    put back; what failed again after a replay, or does unless schemas changed, only with --again.
    """
    if side is Side.EVENTS:
        raise typer.BadParameter(
            "a dead letter of an event holds the API's row, which is no record of the events' "
            "topic. Once a bridge can convert it, `mission-bridge offsets rewind --to TIMESTAMP` "
            "reads it from the API again"
        )
    wanted = _wanted(reason, since, key, origin)
    settings = load(config, "kafka")
    replaying = _Replaying(settings, dry_run=dry_run, as_json=as_json)
    asyncio.run(replaying.run(wanted, limit, again=again))
    if not as_json:
        say(f"{replaying.put_back} {replaying.done}, {replaying.left_out} left out")
    return EXIT_DIFFERENCE if replaying.left_out else EXIT_OK


class _Replaying:
    """One replay: letters wait until there are enough to write at once."""

    def __init__(self, settings: Settings, *, dry_run: bool, as_json: bool) -> None:
        self.put_back = 0
        self.left_out = 0
        self.done = "would be put back" if dry_run else "put back"
        self._settings = settings
        self._commands = settings.topic("commands")
        self._dry_run = dry_run
        self._as_json = as_json
        self._waiting: list[tuple[Letter, Record]] = []

    async def run(self, wanted: Wanted, limit: int | None, *, again: bool) -> None:
        """Put back what is wanted. Raises KafkaAway, ConfigError."""
        kafka = KafkaClient(self._settings.kafka)
        count = len(await find_topic(kafka, self._commands))
        async with AsyncExitStack() as stack:
            writer = None if self._dry_run else await stack.enter_async_context(_writer(kafka))
            found = _letters(self._settings, Side.COMMANDS, wanted)
            async for letter in await stack.enter_async_context(aclosing(found)):
                if why := letters.refusal(letter, self._commands, count, again=again):
                    self.left_out += 1
                    self._say(letter, None, why)
                    continue
                partitioner = PARTITIONERS[self._settings.commands.partitioner]
                record = letters.put_back(letter, self._commands, partitioner, count)
                self._waiting.append((letter, record))
                full = self.put_back + len(self._waiting) == limit
                if full or self._is_enough:
                    await self._write(writer)
                if full:
                    return
            await self._write(writer)

    @property
    def _is_enough(self) -> bool:
        size = sum(record.size for _, record in self._waiting)
        return len(self._waiting) >= _AT_ONCE or size >= _AT_ONCE_BYTES

    async def _write(self, writer: Writer | None) -> None:
        waiting, self._waiting = self._waiting, []
        if writer is not None:
            await writer.commit([record for _, record in waiting])
        for letter, record in waiting:
            self._say(letter, record, None)
        self.put_back += len(waiting)

    def _say(self, letter: Letter, record: Record | None, why: str | None) -> None:
        to = None if record is None else f"{record.topic}-{record.partition}"
        if self._as_json:
            told = {"to": to, "left_out": why, "dry_run": self._dry_run}
            say_json({**letters.as_object(letter), **told})
        elif why is not None:
            say(f"{letter.position} left out: {why}")
        else:
            from_ = f", from {letter.origin}, {letter.reason}"
            say(f"{letter.position} {self.done} on {to}{from_}")


def _wanted(
    reasons: list[str] | None, since: str | None, key: str | None, origin: str | None
) -> Wanted:
    return Wanted(
        frozenset(reasons or ()),
        None if since is None else one_source.timestamp("--since", since),
        key,
        None if origin is None else LetterPlace.parse("--origin", origin),
    )


@asynccontextmanager
async def _writer(kafka: KafkaClient) -> AsyncIterator[Writer]:
    writer = await Writer.open(kafka, None, role="tool", clock=Clock(), timeout=_WRITE_SECONDS)
    try:
        yield writer
    finally:
        await writer.close()


def _topic(settings: Settings, side: Side) -> str:
    return settings.topic(f"{side}.dlq")


async def _letters(settings: Settings, side: Side, wanted: Wanted) -> AsyncGenerator[Letter, None]:
    """Yield the letters that are there now and are wanted, partition after partition."""
    kafka = KafkaClient(settings.kafka)
    patience = settings.kafka.transaction_timeout + _READ_SECONDS
    for at in await find_topic(kafka, _topic(settings, side)):
        log = read_partition(kafka, at.topic, at.partition, until=None, timeout=patience)
        async with aclosing(log):
            async for record in log:
                letter = Letter.of(record)
                if wanted.fits(letter):
                    yield letter
