"""Writing commands to their topic and waiting for their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from bridge.avro.codec import Codec
from bridge.avro.subjects import subject_of, subjects
from bridge.cli.commands.brakes import lines_of
from bridge.cli.shared import open_registry, say, say_json
from bridge.clock import Clock
from bridge.commands.brakes.brake_tool import Lever
from bridge.commands.model import Status, parse
from bridge.config.models import Settings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK, EXIT_UNAVAILABLE, Again, ConfigError
from bridge.kafka.client import KafkaClient
from bridge.kafka.partition import PARTITIONERS, murmur2
from bridge.kafka.producer import Record, Writer
from bridge.kafka.topic_reader import TopicReader, open_topic

_WRITE_SECONDS = 30.0
_POLL_SECONDS = 0.5
_AT_ONCE = 1_000
_PATIENCE = 3.0
"""Seconds without a result after which the sender is told of brakes, once."""


class Waiting:
    """Which results are still to come, and what those that came mean for the exit code."""

    def __init__(self, command_ids: Iterable[str]) -> None:
        self.pending = Counter(command_ids)
        self._failed = False

    def take(self, result: Mapping[str, Any]) -> bool:
        """Say whether this result ends the waiting for one of our commands.

        One that is IN_DOUBT and not final is followed by another. The others that are not final
        answer a command_id that was used before, and nothing follows them.
        """
        command_id = result["command_id"]
        ends = result["final"] or result["status"] != Status.IN_DOUBT
        if not ends or self.pending[command_id] == 0:
            return False
        self.pending[command_id] -= 1
        self._failed |= not _succeeded(result)
        return True

    @property
    def missing(self) -> list[str]:
        """The commands without a result."""
        return [command_id for command_id, count in self.pending.items() if count]

    @property
    def exit_code(self) -> int:
        """1 if a command did not succeed, 75 if results are missing, else 0."""
        if self._failed:
            return EXIT_DIFFERENCE
        return EXIT_UNAVAILABLE if self.missing else EXIT_OK


def _succeeded(result: Mapping[str, Any]) -> bool:
    if result["status"] == Status.DUPLICATE:  # it repeats what the API answered the first time
        return 200 <= (result["http_status"] or 0) < 300
    return result["status"] in {Status.SUCCEEDED, Status.ALREADY_DONE}


async def deliver(
    settings: Settings, commands: Sequence[Mapping[str, Any]], wait: float | None, *, as_json: bool
) -> int:
    """Write commands; then, for at most `wait` seconds, print their results as they come.

    What is not settled yet is told on stderr. Without `wait` print where they were written.
    Returns the exit code. Raises KafkaAway, RegistryAway, ConfigError, and InvalidRecord for a
    command that is too large.
    """
    async with AsyncExitStack() as stack:
        registry = open_registry(settings.registry)
        stack.push_async_callback(registry.aclose)
        delivery = _Delivery(settings, Codec(registry), as_json=as_json)
        await delivery.prepare()
        if wait is None:
            for command, record in await delivery.write(commands):
                delivery.say_sent(command, record)
            return EXIT_OK
        results = await stack.enter_async_context(
            open_topic(delivery.kafka, settings.topic("command-results"))
        )
        # Before anything is written: the first result may be there before we are back.
        results.seek(await results.ends())
        written = await delivery.write(commands)
        return await delivery.collect(results, written, wait)


class _Delivery:
    """The parts that writing and waiting share."""

    def __init__(self, settings: Settings, codec: Codec, *, as_json: bool) -> None:
        self._settings = settings
        self.kafka = KafkaClient(settings.kafka)
        self._topic = settings.topic("commands")
        self._prefix = settings.kafka.topic_prefix
        self._partition = PARTITIONERS[settings.commands.partitioner] or murmur2
        self._codec = codec
        self._clock = Clock()
        self._as_json = as_json

    async def prepare(self) -> None:
        """Find the schemas in the registry."""
        known = subjects(self._prefix)
        for subject in (self._subject("commands"), self._subject("command-results")):
            await self._codec.prepare(subject, known[subject].schema)

    async def write(
        self, commands: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], Record]]:
        """Write commands in their order; return each with its record."""
        writer = await Writer.open(
            self.kafka, None, role="send", clock=self._clock, timeout=_WRITE_SECONDS
        )
        try:
            count = await writer.partitions(self._topic)
            records = [self._record(command, count) for command in commands]
            for first in range(0, len(records), _AT_ONCE):
                await writer.commit(records[first : first + _AT_ONCE])
        finally:
            await writer.close()
        return list(zip(commands, records, strict=True))

    async def collect(
        self,
        results: TopicReader,
        written: Sequence[tuple[Mapping[str, Any], Record]],
        seconds: float,
    ) -> int:
        """Print results until each command has one or the time is up; return the exit code."""
        keys = {record.key for _, record in written}
        waiting = Waiting(command["command_id"] for command, _ in written)
        began = self._clock.monotonic()
        deadline, look_at = began + seconds, began + min(seconds, _PATIENCE)
        looked = False
        while waiting.missing and (left := deadline - self._clock.monotonic()) > 0:
            for record in await results.poll(min(left, _POLL_SECONDS)):
                if record.key not in keys:
                    continue
                subject = self._subject("command-results")
                result = await self._codec.decode(subject, record.value)
                if waiting.take(result):
                    self._say_result(result)
                elif waiting.pending[result["command_id"]]:
                    say(f"not settled yet: {_line(result)}", err=True)
            if waiting.missing and not looked and self._clock.monotonic() >= look_at:
                looked = True
                await self._say_brakes([c for c, _ in written if waiting.pending[c["command_id"]]])
        if waiting.missing:
            say(f"no result in {seconds:g} s: {', '.join(waiting.missing)}", err=True)
        return waiting.exit_code

    async def _say_brakes(self, commands: Sequence[Mapping[str, Any]]) -> None:
        """Say on stderr what holds commands back, and who did it, as far as that can be read."""
        subject = self._subject("command-state")
        try:
            await self._codec.prepare(subject, subjects(self._prefix)[subject].schema)
            brakes, unreadable = await Lever(self._settings, self._codec).brakes()
        except (Again, ConfigError) as error:
            say(f"no result yet; whether a brake is set cannot be read: {error}", err=True)
            return
        holding = [
            one
            for one in brakes
            if any(one.holds(each["type"], each["mission_id"]) for each in commands)
        ]
        for line in lines_of(holding, unreadable):
            say(f"no result yet: {line}", err=True)

    def say_sent(self, command: Mapping[str, Any], record: Record) -> None:
        """Print where a command was written."""
        named = {"type": command["type"], "command_id": command["command_id"]}
        place = {"topic": record.topic, "partition": record.partition}
        if self._as_json:
            say_json({**named, **place, "key": (record.key or b"").decode()})
        else:
            say(f"sent {' '.join(named.values())} to {record.topic}-{record.partition}")

    def _say_result(self, result: Mapping[str, Any]) -> None:
        if self._as_json:
            say_json(result)
        else:
            say(_line(result))

    def _record(self, command: Mapping[str, Any], count: int) -> Record:
        key = parse(command).key
        value = self._codec.encode(self._subject("commands"), dict(command))
        return Record(self._topic, self._partition(key, count), key, value)

    def _subject(self, topic: str) -> str:
        return subject_of(self._prefix, topic)


def _line(result: Mapping[str, Any]) -> str:
    told = [f"{result['status']} {result['type']} {result['command_id']}"]
    told += [f"{name} {result[name]}" for name in ("mission_id", "run_id") if result[name]]
    if result["error"]:
        told.append(f"{result['error']['code']}: {result['error']['message']}")
    return "  ".join(told)
