"""What became of a command, as its topics tell: where it is, its results, and its effect."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.avro.codec import Codec
from bridge.avro.subjects import subject_of, subjects
from bridge.commands.model import Verb
from bridge.commands.requests.verbs import MARK
from bridge.config.models import Settings
from bridge.errors import ApiRejected, ConfigError, InvalidId, InvalidRecord
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import Received, read_partition
from bridge.kafka.partition import murmur2
from bridge.kafka.topic_reader import find_topic
from bridge.missions.client import MissionsClient
from bridge.missions.models import Run

TOPICS: Final = ("commands", "command-state", "command-results", "commands.dlq")
"""What is read, by names without the prefix; then, for a run, its partition of the events."""

_READ_SECONDS: Final = 30.0

Told = tuple[Received, Mapping[str, Any]]
"""A record and its fields."""


@dataclass(slots=True)
class Traced:
    """What was found of a command; `ledger` is its last entry, `letters` are those that name it.

    `logged` are the events that it logged. `run` is what the API shows of the run that it started,
    `first` and `events` are that run's first record on the events' topic, and how many there are.
    """

    sent: list[Told] = field(default_factory=list)
    ledger: Told | None = None
    results: list[Told] = field(default_factory=list)
    letters: list[Received] = field(default_factory=list)
    logged: list[Told] = field(default_factory=list)
    run: Run | None = None
    first: Received | None = None
    events: int = 0

    @property
    def known(self) -> bool:
        """Whether anything is there."""
        return bool(self.sent or self.ledger or self.results or self.letters)

    @property
    def named(self) -> Mapping[str, Any]:
        """Its verb and ids; those of what it made come first.

        The ledger's entry leads. Records elsewhere count where they are of the offset that was
        accepted: another command may have borne the id, and was refused.
        """
        told: list[Mapping[str, Any]] = []
        accepted = next((one["source_offset"] for _, one in self.results if one["final"]), None)
        if self.ledger is not None:
            entry = self.ledger[1]
            accepted = entry["command"]["offset"]
            told = [entry["outcome"] or {}, entry["command"]]
        told += [one for _, one in reversed(self.results) if one["source_offset"] == accepted]
        told += [one for record, one in self.sent if accepted in (None, record.offset)]
        names = ("type", "mission_id", "run_id")
        return {name: next((one[name] for one in told if one.get(name)), None) for name in names}


class Tracer:
    """Reads topics to their ends, one record at a time in memory.

    Each call may raise KafkaAway and RegistryAway.
    """

    def __init__(self, settings: Settings, kafka: KafkaClient, codec: Codec) -> None:
        self._prefix = settings.kafka.topic_prefix
        self._patience = settings.kafka.transaction_timeout + _READ_SECONDS
        self._kafka = kafka
        self._codec = codec

    async def find(self, command_id: str) -> Traced:
        """Return what the topics of commands tell of one."""
        found, needle = Traced(), command_id.encode()
        found.sent += await self._naming("commands", command_id)
        async with aclosing(self._records("command-state")) as records:
            async for record in records:
                if record.key == needle:
                    found.ledger = await self._decode("command-state", record)
        found.results += await self._naming("command-results", command_id)
        async with aclosing(self._records("commands.dlq")) as records:
            async for record in records:
                if needle in (record.value or b""):
                    found.letters.append(record)
        return found

    async def follow(self, found: Traced, command_id: str, client: MissionsClient) -> None:
        """Add where the API and the events show the effect. Raises ApiError, AccessError."""
        named = found.named
        run_id = named["run_id"]
        if named["type"] == Verb.START_RUN and named["mission_id"] is not None:
            found.run = await _started(client, named["mission_id"], run_id, command_id)
            run_id = run_id if found.run is None else found.run.run_id
        elif named["type"] != Verb.LOG_EVENT:
            return
        if run_id is not None:
            await self._events(found, run_id, command_id.encode())

    async def _events(self, found: Traced, run_id: str, needle: bytes) -> None:
        """Look through the events of a run."""
        key = run_id.encode()
        async with aclosing(self._records("events", key)) as records:
            async for record in records:
                if record.key != key:
                    continue
                found.first = found.first or record
                found.events += 1
                bears = needle in (record.value or b"")
                told = await self._decode("events", record) if bears else None
                if told is not None and told[1]["idempotency_key"] == needle.decode():
                    found.logged.append(told)

    async def _naming(self, short: str, command_id: str) -> list[Told]:
        """Return the records of a command; Avro writes texts as they are."""
        found, needle = list[Told](), command_id.encode()
        async with aclosing(self._records(short)) as records:
            async for record in records:
                told = (
                    await self._decode(short, record) if needle in (record.value or b"") else None
                )
                if told is not None and told[1]["command_id"] == command_id:
                    found.append(told)
        return found

    async def _decode(self, short: str, record: Received) -> Told | None:
        try:
            return record, await self._codec.decode(subject_of(self._prefix, short), record.value)
        except InvalidRecord:
            return None  # a deletion, or what somebody else wrote there

    async def _records(
        self, short: str, key: bytes | None = None
    ) -> AsyncGenerator[Received, None]:
        """Yield the records of a topic, or of a key's partition; none where there is no topic."""
        subject = subject_of(self._prefix, short)
        known = subjects(self._prefix)
        try:
            partitions = await find_topic(self._kafka, f"{self._prefix}.{short}")
            if subject in known:
                await self._codec.prepare(subject, known[subject].schema)
        except ConfigError:
            return  # an installation that carries out no commands
        if key is not None:
            partitions = [partitions[murmur2(key, len(partitions))]]
        for at in partitions:
            log = read_partition(
                self._kafka, at.topic, at.partition, until=None, timeout=self._patience
            )
            async with aclosing(log):
                async for record in log:
                    yield record


async def _started(
    client: MissionsClient, mission_id: str, run_id: str | None, command_id: str
) -> Run | None:
    """Return the run that bears a command's mark; None: the API shows none."""
    try:
        if run_id is not None:
            run = await client.get_run(mission_id, run_id)
            return run if _bears(run, command_id) else None
        page = 1
        while rows := (await client.list_runs(mission_id, page=page)).items:
            for row in rows:
                if isinstance(row, Run) and _bears(row, command_id):
                    return row
            page += 1
    except (ApiRejected, InvalidId):
        return None  # deleted, or there never was one
    return None


def _bears(run: Run, command_id: str) -> bool:
    return (run.metadata or {}).get(MARK) == command_id
