"""The topics: what they should be, what is there, and how to get from one to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.kafka.client import BATCH_BYTES, REQUEST_TIMEOUT, KafkaClient, bounded, end_admin

Cleanup = Literal["delete", "compact"]

MEND = "`mission-bridge topics apply`"

# Compacted topics are read from the start by whoever takes over, so they are kept short: the
# newest segment is never compacted (64 MiB or an hour at most) and cleaning starts at a tenth.
_COMPACT = {
    "min.cleanable.dirty.ratio": "0.1",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(60 * 60 * 1000),
}
# Kafka's own default, said so that what the brokers have set does not decide how long audits, and
# senders that were away, can look back.
_DELETE = {"retention.ms": str(7 * 24 * 60 * 60 * 1000)}

_COPIES_FOR_TWO_IN_SYNC = 3
"""With so many copies, a record counts as written once two of them have it."""

_TOPIC_OVERRIDE = 1  # source of a setting made for the topic itself, in DescribeConfigs


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as `topics apply` creates it."""

    name: str
    partitions: int
    cleanup: Cleanup
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """All of the topic's own settings."""
        return {"cleanup.policy": self.cleanup, **self.config}


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic as it is; `settings` is None where we may not read them."""

    partitions: int
    settings: Mapping[str, str] | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicChange:
    """One step of `topics apply`."""

    action: Literal["create", "grow", "configure"]
    topic: str
    partitions: int = 0
    replication_factor: int = -1
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        match self.action:
            case "create":
                return f"create {self.topic}: {self.partitions} partitions, {settings}"
            case "grow":
                return f"grow {self.topic} to {self.partitions} partitions"
            case "configure":
                return f"configure {self.topic}: {settings}"


def topic_specs(prefix: str) -> dict[str, TopicSpec]:
    """Return every topic of a bridge, by its name without the prefix."""

    def spec(short: str, partitions: int, cleanup: Cleanup) -> TopicSpec:
        config = _COMPACT if cleanup == "compact" else _DELETE
        return TopicSpec(f"{prefix}.{short}", partitions, cleanup, config)

    return {
        "events": spec("events", 6, "delete"),
        "checkpoint": spec("checkpoint", 1, "compact"),
        "audit": spec("audit", 1, "delete"),
        "events.dlq": spec("events.dlq", 1, "delete"),
        "commands": spec("commands", 6, "delete"),
        "command-results": spec("command-results", 6, "delete"),
        "command-state": spec("command-state", 6, "compact"),
        "commands.dlq": spec("commands.dlq", 1, "delete"),
    }


def decide(
    specs: Mapping[str, TopicSpec], found: Mapping[str, ExistingTopic], replication_factor: int
) -> list[TopicChange]:
    """Return what must be done, in order; nothing when all is as it should be.

    Partition counts of existing topics are the user's, except that the ledger needs as many as the
    commands. Other settings of existing topics are left alone as well.
    """
    changes: list[TopicChange] = []
    for short, spec in specs.items():
        there = found.get(spec.name)
        wanted = _partitions(short, spec, specs, found)
        if there is None:
            settings = {**spec.settings, **_in_sync(replication_factor)}
            changes.append(TopicChange("create", spec.name, wanted, replication_factor, settings))
            continue
        if short == "command-state" and there.partitions < wanted:
            changes.append(TopicChange("grow", spec.name, wanted))
        if there.settings is not None and there.settings["cleanup.policy"] != spec.cleanup:
            settings = {**there.overrides, "cleanup.policy": spec.cleanup}
            changes.append(TopicChange("configure", spec.name, settings=settings))
    return changes


def _in_sync(replication_factor: int) -> dict[str, str]:
    """Return the setting that lets a write survive the loss of a broker and still go on."""
    enough = replication_factor >= _COPIES_FOR_TWO_IN_SYNC
    return {"min.insync.replicas": "2"} if enough else {}


def problems(specs: Mapping[str, TopicSpec], found: Mapping[str, ExistingTopic]) -> list[str]:
    """Return what `run` cannot work with, each with what mends it."""
    wrong: list[str] = []
    for short, spec in specs.items():
        there = found.get(spec.name)
        if there is None:
            wrong.append(f"topic {spec.name} is missing: {MEND} creates it")
            continue
        wanted = _partitions(short, spec, specs, found)
        if short == "command-state" and there.partitions != wanted:
            mend = MEND if there.partitions < wanted else "delete both and create them anew"
            wrong.append(
                f"topic {spec.name} has {there.partitions} partitions and must have {wanted}, as "
                f"many as {specs['commands'].name}: {mend}"
            )
        if there.settings is None:
            continue
        cleanup = there.settings["cleanup.policy"]
        if cleanup != spec.cleanup:
            wrong.append(
                f"topic {spec.name} has cleanup.policy={cleanup} and needs {spec.cleanup}: "
                f"{MEND} sets it"
            )
        limit = int(there.settings["max.message.bytes"])
        if limit < BATCH_BYTES:
            wrong.append(
                f"topic {spec.name} has max.message.bytes={limit}, too few for batches of "
                f"{BATCH_BYTES}: raise it (1048588 is Kafka's default)"
            )
    return wrong


async def plan(
    kafka: KafkaClient, specs: Mapping[str, TopicSpec], replication_factor: int
) -> list[TopicChange]:
    """Return what `apply` would have to do. Raises KafkaAway."""
    return decide(specs, await _look(kafka, specs), replication_factor)


async def check(kafka: KafkaClient, specs: Mapping[str, TopicSpec]) -> list[str]:
    """Return what `run` cannot work with; empty when all is well. Raises KafkaAway."""
    return problems(specs, await _look(kafka, specs))


async def partition_counts(kafka: KafkaClient, specs: Mapping[str, TopicSpec]) -> dict[str, int]:
    """Return how many partitions each topic has, by short name; raises KafkaAway."""
    found = await _look(kafka, specs)
    return {short: found[spec.name].partitions for short, spec in specs.items()}


async def usable(kafka: KafkaClient, prefix: str) -> dict[str, int]:
    """Return the topics whose names begin so and all of whose partitions have a leader.

    With their partition counts; raises KafkaAway.
    """
    async with _admin(kafka) as admin, bounded("listing topics", REQUEST_TIMEOUT):
        topics = await _list(admin, led=True)
    return {name: count for name, count in topics.items() if name.startswith(prefix)}


async def apply(kafka: KafkaClient, changes: Sequence[TopicChange], clock: Clock) -> None:
    """Carry out a plan; doing it twice does no harm.

    Returns when the brokers show the topics with leaders. Raises ConfigError with every refusal,
    KafkaAway.
    """
    async with _admin(kafka) as admin, bounded("changing topics", 4 * REQUEST_TIMEOUT):
        refused = await _create(admin, [c for c in changes if c.action == "create"])
        for change in changes:
            if change.action == "grow":
                growth = {change.topic: NewPartitions(change.partitions)}
                try:
                    await admin.create_partitions(growth)
                except errors.BrokerResponseError as error:
                    refused.append(f"{change}: {error}")
            elif change.action == "configure":
                refused += await _configure(admin, change)
        if refused:
            raise ConfigError(refused)
        changed = {change.topic for change in changes}
        while not changed <= (await _list(admin, led=True)).keys():
            await clock.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, changes: Sequence[TopicChange]) -> list[str]:
    """Create topics; return the refusals."""
    if not changes:
        return []
    answer: Any = await admin.create_topics(
        [
            NewTopic(
                change.topic,
                change.partitions,
                change.replication_factor,
                # The class takes -1 (the brokers' default) only beside an assignment, even empty.
                replica_assignments={} if change.replication_factor == -1 else None,
                topic_configs=dict(change.settings),
            )
            for change in changes
        ]
    )
    return [
        f"create {topic}: {message or errors.for_code(code).__name__}"
        for topic, code, message in answer.topic_errors
        if code not in (0, errors.TopicAlreadyExistsError.errno)
    ]


async def _configure(admin: AIOKafkaAdminClient, change: TopicChange) -> list[str]:
    """Replace the settings of one topic; return the refusals."""
    resource = ConfigResource(ConfigResourceType.TOPIC, change.topic, dict(change.settings))
    answer: Any = (await admin.alter_configs([resource]))[0]
    return [
        f"configure {topic}: {message or errors.for_code(code).__name__}"
        for code, message, _, topic in answer.resources
        if code
    ]


@asynccontextmanager
async def _admin(kafka: KafkaClient) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = kafka.admin()
    try:
        async with bounded("connecting to Kafka", REQUEST_TIMEOUT):
            await admin.start()
        yield admin
    finally:
        await end_admin(admin)


async def _list(admin: AIOKafkaAdminClient, *, led: bool = False) -> dict[str, int]:
    """Return all topics with their partition counts; never asks for one by its name.

    With `led` only those whose every partition has a leader and so can be used.
    """
    return {
        topic["topic"]: len(topic["partitions"])
        for topic in await admin.describe_topics()
        if not led
        or (topic["partitions"] and all(part["leader"] >= 0 for part in topic["partitions"]))
    }


async def _look(kafka: KafkaClient, specs: Mapping[str, TopicSpec]) -> dict[str, ExistingTopic]:
    """Return those of our topics that exist."""
    names = {spec.name for spec in specs.values()}
    async with _admin(kafka) as admin, bounded("looking at topics", 2 * REQUEST_TIMEOUT):
        counts = {name: n for name, n in (await _list(admin)).items() if name in names}
        found = {name: ExistingTopic(count) for name, count in counts.items()}
        if not found:
            return found
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
        answer: Any = (await admin.describe_configs(resources))[0]
        for code, _, _, name, entries in answer.resources:
            if code == 0:
                settings = {entry[0]: entry[1] for entry in entries}
                overrides = {entry[0]: entry[1] for entry in entries if entry[3] == _TOPIC_OVERRIDE}
                found[name] = ExistingTopic(counts[name], settings, overrides)
        return found


def _partitions(
    short: str, spec: TopicSpec, specs: Mapping[str, TopicSpec], found: Mapping[str, ExistingTopic]
) -> int:
    """Return how many partitions a topic should have, given what is there."""
    commands = specs.get("commands")
    if short == "command-state" and commands is not None:
        there = found.get(commands.name)
        return commands.partitions if there is None else there.partitions
    return spec.partitions
