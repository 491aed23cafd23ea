"""`mission-bridge tail`: the records of a topic, decoded, as they come."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any

import typer
from aiokafka import TopicPartition

from bridge.avro.any_schema import Decoder
from bridge.avro.headers import readable
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.clock import Clock, utc
from bridge.config import Settings
from bridge.errors import EXIT_OK, InvalidRecord, KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import SILENCE, Received
from bridge.kafka.topic_reader import TopicReader, open_topic
from bridge.output import nobody_reads
from bridge.printing import printable

_FIRST = ("type", "status", "summary", "command_id", "error")
_WAIT = 0.5


def tail(
    topic: Annotated[str, typer.Argument(help="`events`, or a full name such as missions.events.")],
    *,
    start: Annotated[
        str, typer.Option("--from", metavar="POSITION", help="earliest, latest, or an offset.")
    ] = "latest",
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many records.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or end with the topic.")
    ] = True,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Show the records of a topic, decoded; Ctrl-C ends it.

    Dead letters are shown as bytes and headers, as is what cannot be decoded.
    """
    if not re.fullmatch(r"earliest|latest|[0-9]{1,18}", start):
        raise typer.BadParameter("--from must be earliest, latest or an offset")
    settings = load(config, "kafka", "registry")
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(settings, topic, start, limit, follow=follow, as_json=as_json))
    return EXIT_OK


async def _tail(
    settings: Settings, topic: str, start: str, limit: int | None, *, follow: bool, as_json: bool
) -> None:
    registry = open_registry(settings.registry)
    kafka = KafkaClient(settings.kafka)
    try:
        async with open_topic(kafka, settings.topic(topic), topic) as reader:
            decoder, shown = Decoder(registry), 0
            async with aclosing(_records(reader, start, follow=follow)) as records:
                async for record in records:
                    await _show(record, decoder, as_json=as_json)
                    shown += 1
                    if shown == limit or nobody_reads():
                        return
    finally:
        await registry.aclose()


async def _records(
    reader: TopicReader, start: str, *, follow: bool
) -> AsyncGenerator[Received, None]:
    """Yield records from `start`; without `follow` up to the end as it is now."""
    starts, ends = await reader.starts(), await reader.ends()
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


async def _show(record: Received, decoder: Decoder, *, as_json: bool) -> None:
    value: Any = record.value
    problem = None
    if record.value is not None and not record.topic.endswith(".dlq"):
        try:
            value = await decoder.decode(record.value)
        except InvalidRecord as error:
            problem = str(error)
    if as_json:
        say_json(as_object(record, value, problem))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        say(as_line(record, value, problem)[:width])


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
    match value:
        case None:
            fields = "(null)"
        case bytes():
            about = _headers(record) if problem is None else {"problem": problem}
            fields = f"{_text(value)}  {_fields(about)}"
        case _:
            fields = _fields(value)
    return printable(f"{utc(record.timestamp * 1000)}  {place:<10}  {key:<36}  {fields}")


def _fields(value: Mapping[str, Any]) -> str:
    """Write what is not null, the telling fields first and without their names."""
    first = [_word(name, value[name]) for name in _FIRST if value.get(name) is not None]
    rest = [
        f"{name}={_word(name, item)}"
        for name, item in value.items()
        if item is not None and name not in _FIRST
    ]
    return "  ".join(first + rest)


def _word(name: str, item: Any) -> str:
    match item:
        case bytes():
            return item.hex()
        case Mapping():
            return f"{{{_fields(item)}}}"
        case int() if name == "timestamp" or name.endswith("_at"):
            return utc(item)
    return str(item)


def _headers(record: Received) -> dict[str, str | None]:
    # What any client may write: aiokafka's types do not say that a header can be null.
    pairs: Sequence[tuple[str, bytes | None]] = record.headers
    return {readable(name): None if content is None else _text(content) for name, content in pairs}


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
