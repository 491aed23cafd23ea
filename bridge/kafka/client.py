"""The only place that makes aiokafka's objects, bounds and translates their calls, and ends them.

aiokafka waits without limit when brokers are away, reports many failures as its own asserts, and
cannot always stop what it started; the rest of this package deals with it through this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiokafka.client
import aiokafka.consumer.fetcher
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.protocol.metadata import MetadataRequest

from bridge.config.models import KafkaSettings
from bridge.errors import Again, BridgeError, ClockOff, ConfigError, Fenced, KafkaAway, StateError
from bridge.kafka.batches import Batches
from bridge.kafka.security import connection_options
from bridge.telemetry import log

BATCH_BYTES = 1_000_000
"""Most bytes in one batch before compression; with any codec's worst case below the brokers'
default limit of 1,048,588 bytes (message.max.bytes)."""

REQUEST_TIMEOUT = 15.0
"""Seconds for one request to one broker; longer than brokers take to replace a dead one (9 s)."""

CLOSE_TIMEOUT = 5.0
"""Seconds for an object to stop by itself before what it left running is cancelled."""

MOST_RECORDS = 500
"""Records that one call returns at most; what else was fetched waits, still compressed."""

_log = log(__name__)

# Asking for a topic by its name makes the brokers create it, unless the request says not to.
# aiokafka has no option for that: its client makes the request from this name.
aiokafka.client.MetadataRequest = partial(  # type: ignore[attr-defined,assignment]
    MetadataRequest, allow_auto_topic_creation=False
)

# Its own reader of fetched bytes raises in the middle of a fetch, and expands without bound.
aiokafka.consumer.fetcher.MemoryRecords = Batches  # type: ignore[attr-defined,assignment]

_TOOK_OVER = "another producer with this transactional id took over"
_NO_TOPIC = "there is no such topic; `mission-bridge topics apply` creates it"
_CLOCK = (
    "the brokers refuse records of this time: this machine's clock is ahead of theirs by more than "
    "message.timestamp.after.max.ms (an hour unless set otherwise), or behind it by more than "
    "message.timestamp.before.max.ms; set the clock"
)
_REFUSED = "the brokers refuse this user; check its password and ACLs"
_GONE = (
    "the log does not hold this position (retention, or the topic was created anew); for a source "
    "`mission-bridge offsets show` shows where it begins and `offsets reset` chooses another, for "
    'the commands topic see docs/OPERATIONS.md, "More partitions for commands"'
)
_UNFIT = "these brokers or this configuration cannot be used"
_TRANSACTION = (
    "BRIDGE_KAFKA__TRANSACTION_TIMEOUT is longer than the brokers allow "
    "(transaction.max.timeout.ms)"
)
_SESSION = (
    "BRIDGE_KAFKA__SESSION_TIMEOUT is not between what the brokers allow "
    "(group.min.session.timeout.ms and group.max.session.timeout.ms)"
)

# Which of our errors stands for which of aiokafka's, and what to say; the first match counts.
_MEANING: tuple[tuple[type[Exception], type[BridgeError], str], ...] = (
    (errors.ProducerFenced, Fenced, _TOOK_OVER),
    (errors.InvalidProducerEpoch, Fenced, _TOOK_OVER),
    (errors.OffsetOutOfRangeError, StateError, _GONE),
    (errors.NoOffsetForPartitionError, StateError, _GONE),
    (errors.UnknownTopicOrPartitionError, KafkaAway, _NO_TOPIC),
    (errors.TopicAuthorizationFailedError, KafkaAway, _REFUSED),
    (errors.GroupAuthorizationFailedError, KafkaAway, _REFUSED),
    (errors.ClusterAuthorizationFailedError, KafkaAway, _REFUSED),
    (errors.TransactionalIdAuthorizationFailed, KafkaAway, _REFUSED),
    (errors.SaslAuthenticationFailed, KafkaAway, _REFUSED),
    (errors.AuthenticationFailedError, KafkaAway, _REFUSED),
    (errors.IncompatibleBrokerVersion, ConfigError, _UNFIT),
    (errors.UnsupportedVersionError, ConfigError, _UNFIT),
    (errors.UnsupportedCodecError, ConfigError, _UNFIT),
    (errors.UnsupportedSaslMechanismError, ConfigError, _UNFIT),
    (errors.AuthenticationMethodNotSupported, ConfigError, _UNFIT),
    (errors.InvalidTransactionTimeout, ConfigError, _TRANSACTION),
    (errors.InvalidSessionTimeoutError, ConfigError, _SESSION),
    (errors.InvalidTimestampError, ClockOff, _CLOCK),
    (errors.InvalidTopicError, ConfigError, _UNFIT),
    (errors.KafkaConnectionError, KafkaAway, "no broker can be reached"),
    (OSError, KafkaAway, "no broker can be reached"),
)

# What aiokafka raises: KafkaError and these two beside it, sockets' errors, and asserts where a
# producer or consumer is in another state than a call expects (after a failure in its background).
_RAISED = (
    errors.KafkaError,
    errors.IllegalOperation,
    errors.ConsumerStoppedError,
    OSError,
    AssertionError,
)


def translate(error: Exception, what: str, otherwise: type[Again] = KafkaAway) -> BridgeError:
    """Return our error for one of aiokafka's; `what` was being done, as in "writing to x".

    `otherwise` is for what neither names a broker that is away nor anything more special.
    """
    text = f"{what}: {str(error) or type(error).__name__}"
    for theirs, ours, meaning in _MEANING:
        if isinstance(error, theirs):
            message = f"{text}: {meaning}"
            return ConfigError([message]) if ours is ConfigError else ours(message)
    return KafkaAway(text) if getattr(error, "retriable", False) else otherwise(text)


@asynccontextmanager
async def bounded(
    what: str, seconds: float, otherwise: type[Again] = KafkaAway
) -> AsyncIterator[None]:
    """Run calls of aiokafka for at most `seconds`; what they raise comes out as our errors.

    Raises KafkaAway when the time is up, else as `translate` says.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise KafkaAway(f"{what}: no answer within {seconds:g} s") from error
    except _RAISED as error:
        raise translate(error, what, otherwise) from error


class KafkaClient:
    """Makes producers, consumers and admin clients, none of them started.

    The seam for tests: nothing else in the bridge constructs an aiokafka object.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._connection = connection_options(settings)
        self.wrote = False
        """Whether a transaction of this process was ever committed."""

    @property
    def session_timeout(self) -> float:
        """Seconds after which the group gives a silent member's partitions to others."""
        return self._settings.session_timeout

    def producer(self, transactional_id: str | None) -> AIOKafkaProducer:
        """Return an idempotent producer, acks from all; with an id, a transactional one."""
        packed = self._settings.compression
        return AIOKafkaProducer(
            **self._connection,
            client_id=transactional_id or "mission-bridge",
            transactional_id=transactional_id,
            transaction_timeout_ms=round(self._settings.transaction_timeout * 1000),
            enable_idempotence=True,
            acks="all",
            compression_type=None if packed == "none" else packed,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=round(REQUEST_TIMEOUT * 1000),
        )

    def consumer(self, *, group: str | None, committed: bool = True) -> AIOKafkaConsumer:
        """Return a consumer without topics, offsets or deserializers, of committed records.

        One of records that may not be committed has no use but to ask where logs really end.
        """
        session = self._settings.session_timeout
        assignor = _assignor()
        consumer = AIOKafkaConsumer(
            **self._connection,
            client_id="mission-bridge",
            group_id=group,
            auto_offset_reset="none",
            enable_auto_commit=False,
            isolation_level="read_committed" if committed else "read_uncommitted",
            max_poll_records=MOST_RECORDS,
            session_timeout_ms=round(session * 1000),
            heartbeat_interval_ms=round(session * 1000 / 3),
            partition_assignment_strategy=(assignor,),
            # Loops that stop turning are the watchdog's business. With a limit here, aiokafka would
            # leave the group without a word and go on showing the partitions as assigned.
            max_poll_interval_ms=2**31 - 1,
            # A request to join is answered when all members have joined: up to a session later.
            request_timeout_ms=round((max(REQUEST_TIMEOUT, session + 5)) * 1000),
        )
        assignor.consumer = consumer
        return consumer

    def admin(self) -> AIOKafkaAdminClient:
        """Return an admin client."""
        return AIOKafkaAdminClient(
            **self._connection,
            client_id="mission-bridge",
            request_timeout_ms=round(REQUEST_TIMEOUT * 1000),
        )


def _assignor() -> Any:
    """Make the class that shares out partitions for one consumer, its `consumer`.

    Sticky, so that a member that joins does not move what others work on. Each consumer has a class
    of its own, because aiokafka keeps a member's claims in the class; and aiokafka leaves out the
    generation, which tells good claims from those of a member that was put out for a while.
    """

    class Assignor(StickyPartitionAssignor):
        consumer: Any

        @classmethod
        def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
            cls.generation = cls.consumer._coordinator.generation  # noqa: SLF001
            return super().metadata(topics)

    return Assignor


def has_coordinator(consumer: AIOKafkaConsumer) -> bool:
    """Whether the member of a group is in touch with the broker that coordinates it."""
    coordinator: Any = consumer._coordinator  # noqa: SLF001 - nothing else shows it
    return coordinator.coordinator_id is not None


async def end_producer(producer: AIOKafkaProducer, *, discard: bool) -> None:
    """Stop a producer within seconds; with `discard` nothing that is pending is sent any more."""
    # The private parts are those whose tasks aiokafka starts and keeps no list of.
    parts = (producer._sender, producer._message_accumulator, producer.client)  # noqa: SLF001
    if discard:
        await _cancel_tasks(parts[:2])
    await _end(producer.stop(), parts)
    for future in _forgotten(producer):
        if future.done() and not future.cancelled():
            future.exception()  # looked at, or Python complains of each when it is collected


async def end_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer within seconds; a member leaves its group."""
    parts = (consumer._coordinator, consumer._fetcher, consumer._client)  # noqa: SLF001
    await _end(consumer.stop(), parts)


async def end_admin(admin: AIOKafkaAdminClient) -> None:
    """Close an admin client within seconds."""
    await _end(admin.close(), (admin._client,))  # noqa: SLF001


def _forgotten(producer: AIOKafkaProducer) -> Iterator[asyncio.Future[Any]]:
    """Yield the futures that aiokafka fails when its sender dies, whether or not anybody waits."""
    transactions: Any = producer._txn_manager  # noqa: SLF001
    if (end := transactions.wait_for_transaction_end()) is not None:
        yield end
    for batches in producer._message_accumulator._batches.values():  # noqa: SLF001
        for batch in batches:
            yield from (batch.future, batch._drain_waiter)  # noqa: SLF001


async def _end(stop: Any, parts: Collection[Any]) -> None:
    """Await `stop` for a while, then cancel what is left and close the connections."""
    stopping = asyncio.ensure_future(stop)  # a task: aiokafka's stop may raise a stray cancellation
    try:
        await asyncio.wait({stopping}, timeout=CLOSE_TIMEOUT)
    finally:
        stopping.cancel()
    await asyncio.wait({stopping}, timeout=1)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is not None:
        _log.debug("kafka_close_failed", error=repr(stopping.exception()))
    *_, client = parts
    await _cancel_tasks(parts)
    closing = asyncio.ensure_future(client.close())
    await asyncio.wait({closing}, timeout=1)


async def _cancel_tasks(parts: Collection[Any]) -> None:
    """Cancel the tasks that run a method of one of `parts`."""
    wanted = {id(part) for part in parts}
    tasks = {task for task in asyncio.all_tasks() if id(_owner(task)) in wanted}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1)


def _owner(task: asyncio.Task[Any]) -> object:
    """Return the object whose method a task runs; the task itself if it runs something else."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return task if frame is None else frame.f_locals.get("self", task)
