"""`mission-bridge tail`: the records of a topic, decoded, as they come."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from aiokafka import TopicPartition

from bridge.avro.any_schema import SchemaDecoder
from bridge.avro.headers import readable
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import Clock, Micros, utc
from bridge.config.models import Settings
from bridge.errors import EXIT_OK, InvalidRecord, KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import SILENCE, Received
from bridge.kafka.topic_reader import TopicReader, open_topic
from bridge.output import nobody_reads
from bridge.printing import printable, to_json

_FIRST = ("kind", "type", "status", "summary", "error", "command_id")
_TIMES = range(10**15, 5 * 10**15)
"""Integers of this size are microseconds from 2001 to 2128: nothing that is counted gets there."""

_ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_HEADER = f"{'WRITTEN':<14}  {'PLACE':<8}  {'KEY':<8}  WHAT"
_WAIT = 0.5


def tail(
    topic: Annotated[str, typer.Argument(help="`events`, or a full name such as missions.events.")],
    *,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="POSITION", help="earliest, latest, an offset or a timestamp."
        ),
    ] = "latest",
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many records.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or end with the topic.")
    ] = True,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Only what is about this run.")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Show the records of a topic, decoded; Ctrl-C ends it.

    Dead letters are shown as bytes and headers, as is what cannot be decoded. On a terminal ids are
    short and lines end at its edge; --json has everything.
    """
    since = None
    if not re.fullmatch(r"earliest|latest|[0-9]{1,18}", start):
        since = one_source.timestamp("--from, unless earliest, latest or an offset,", start)
    settings = load(config, "kafka", "registry")
    terminal = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    view = _View(start if since is None else since, run_id, terminal, as_json=as_json)
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(settings, topic, view, follow=follow, limit=limit))
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown: from where, of which run, and how wide (None: no terminal)."""

    start: str | Micros
    run_id: str | None
    width: int | None
    as_json: bool


async def _tail(
    settings: Settings, topic: str, view: _View, *, follow: bool, limit: int | None
) -> None:
    registry = open_registry(settings.registry)
    kafka = KafkaClient(settings.kafka)
    try:
        async with open_topic(kafka, settings.topic(topic), topic) as reader:
            decoder, shown = SchemaDecoder(registry), 0
            if view.width is not None and not view.as_json:
                say(_HEADER)
            async with aclosing(_records(reader, view.start, follow=follow)) as records:
                async for record in records:
                    shown += await _show(record, decoder, view)
                    if shown == limit or nobody_reads():
                        return
    finally:
        await registry.aclose()


async def _records(
    reader: TopicReader, start: str | Micros, *, follow: bool
) -> AsyncGenerator[Received, None]:
    """Yield records from `start`; without `follow` up to the end as it is now."""
    starts, ends = await reader.starts(), await reader.ends()
    if isinstance(start, int):
        reader.seek(ends | await reader.since(start))
    else:
        if start.isdecimal() and int(start) > max(ends.values()):
            last = max(ends.values())
            say(f"offset {start} is not there yet: the longest partition ends at {last}", err=True)
        reader.seek(first_offsets(start, starts, ends))
    clock = Clock()
    reached, since = await reader.positions(), clock.monotonic()
    while follow or any(reached[at] < end for at, end in ends.items()):
        for record in await reader.poll(_WAIT):
            if follow or record.offset < ends[TopicPartition(record.topic, record.partition)]:
                yield record
        before, reached = reached, await reader.positions()
        if reached != before:
            since = clock.monotonic()
        elif not follow and clock.monotonic() - since > SILENCE:
            raise KafkaAway(f"no broker sent anything for {SILENCE:.0f} s")


def first_offsets(
    start: str, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return where to begin in each partition; an offset outside the log is moved into it."""
    if start == "earliest":
        return dict(starts)
    if start == "latest":
        return dict(ends)
    return {at: min(max(int(start), starts[at]), end) for at, end in ends.items()}


async def _show(record: Received, decoder: SchemaDecoder, view: _View) -> bool:
    """Show a record, and say whether it was one of those that are wanted."""
    value: Any = record.value
    problem = None
    if record.value is not None and not record.topic.endswith(".dlq"):
        try:
            value = await decoder.decode(record.value)
        except InvalidRecord as error:
            problem = str(error)
    if view.run_id is not None and not _is_about(view.run_id, record, value):
        return False
    if view.as_json:
        say_json(as_object(record, value, problem))
    elif view.width is not None:
        say(as_short_line(record, value, problem)[: view.width])
    else:
        say(as_line(record, value, problem))
    return True


def _is_about(run_id: str, record: Received, value: Any) -> bool:
    named = isinstance(value, Mapping) and value.get("run_id") == run_id
    return named or record.key == run_id.encode()


def as_object(record: Received, value: Any, problem: str | None) -> dict[str, Any]:
    """Return a record for JSON: `value` decoded, else its bytes as `value_base64` and why.

    `timestamp` is when it was written, milliseconds UTC. Of a header that repeats the last counts.
    """
    found: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else _text(record.key),
        "headers": _headers(record),
    }
    found["value_base64" if isinstance(value, bytes) else "value"] = value
    return found if problem is None else {**found, "problem": problem}


def as_line(record: Received, value: Any, problem: str | None) -> str:
    """Return a record as one line: when it was written, where it is, its key, its main fields."""
    place = f"{record.partition}/{record.offset}"
    key = "-" if record.key is None else _text(record.key)
    what = _what(record, value, problem)
    return printable(f"{utc(record.timestamp * 1000)}  {place:<10}  {key:<36}  {what}")


def as_short_line(record: Received, value: Any, problem: str | None) -> str:
    """Return the same for a terminal: ids by their first eight characters, times to the second."""
    place = f"{record.partition}/{record.offset}"
    key = "-" if record.key is None else _short(_text(record.key))
    written = utc(record.timestamp * 1000)[5:19].replace("T", " ")
    what = _short(_what(record, value, problem))
    return printable(f"{written}  {place:<8}  {key:<8}  {what}")


def _short(text: str) -> str:
    return _ID.sub(r"\1", text)


def _what(record: Received, value: Any, problem: str | None) -> str:
    match value:
        case None:
            return "(null)"
        case bytes():
            about = _headers(record) if problem is None else {"problem": problem}
            return f"{_text(value)}  {_fields(about)}"
    return _fields(value)


def _fields(value: Mapping[str, Any]) -> str:
    """Write what is not null, the telling fields first and without their names."""
    first = [_word(value[name]) for name in _FIRST if value.get(name) is not None]
    rest = [
        f"{name}={_word(item)}"
        for name, item in value.items()
        if item is not None and name not in _FIRST
    ]
    return "  ".join(first + rest)


def _word(item: Any) -> str:
    shown = _shown(item)
    return shown if isinstance(shown, str) else to_json(shown)


def _shown(item: Any) -> Any:
    """Return a value for people: times as times, bytes in hexadecimal."""
    match item:
        case bytes():
            return item.hex()
        case Mapping():
            return {name: _shown(inner) for name, inner in item.items() if inner is not None}
        case list() | tuple():
            return [_shown(inner) for inner in item]
        case int() if item in _TIMES:
            return utc(item)
    return item


def _headers(record: Received) -> dict[str, str | None]:
    # What any client may write: aiokafka's types do not say that a header can be null.
    pairs: Sequence[tuple[str, bytes | None]] = record.headers
    return {readable(name): None if content is None else _text(content) for name, content in pairs}


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
