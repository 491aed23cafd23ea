"""The rules for aiokafka that are settings, and what its errors become."""

import inspect
from pathlib import Path
from typing import Any

import aiokafka.client
import pytest
from aiokafka import errors
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.record.default_records import DefaultRecordBatch

import bridge
from bridge.clock import Clock
from bridge.config.models import KafkaSettings
from bridge.errors import (
    Again,
    BridgeError,
    ConfigError,
    Fenced,
    KafkaAway,
    StateError,
    TransactionLost,
)
from bridge.kafka.client import KafkaClient, bounded, end_consumer, end_producer, translate

THEIRS = [
    kind
    for kind in vars(errors).values()
    if inspect.isclass(kind)
    and issubclass(kind, Exception)
    and kind is not errors.BrokerResponseError  # only its subclasses have a code
]


@pytest.fixture
def client() -> KafkaClient:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", session_timeout=9)
    return KafkaClient(settings.model_copy(update={"transaction_timeout": 42.0}))


async def test_a_consumer_reads_committed_records_and_decides_nothing_by_itself(
    client: KafkaClient,
) -> None:
    consumer = client.consumer(group="g")
    assert consumer._isolation_level == "read_committed"
    assert consumer._auto_offset_reset == "none"
    assert consumer._enable_auto_commit is False
    assert consumer._key_deserializer is None
    assert consumer._value_deserializer is None
    assert (consumer._session_timeout_ms, consumer._heartbeat_interval_ms) == (9_000, 3_000)
    await end_consumer(consumer)


@pytest.mark.parametrize(
    ("settings", "packed"),
    [
        ({}, DefaultRecordBatch.CODEC_GZIP),
        ({"compression": "none"}, DefaultRecordBatch.CODEC_NONE),
        ({"compression": "lz4"}, DefaultRecordBatch.CODEC_LZ4),
        ({"compression": "snappy"}, DefaultRecordBatch.CODEC_SNAPPY),
        ({"compression": "zstd"}, DefaultRecordBatch.CODEC_ZSTD),
    ],
)
async def test_records_are_packed_with_what_every_client_reads_unless_told_otherwise(
    settings: dict[str, Any], packed: int
) -> None:
    made = KafkaClient(KafkaSettings(bootstrap_servers="127.0.0.1:1", **settings))
    producer = made.producer(None)
    batch = producer.create_batch()
    batch.append(timestamp=1, key=None, value=bytes(100_000))
    written = bytes(batch._build())
    assert DefaultRecordBatch(written).compression_type == packed
    assert (len(written) < 10_000) == (packed != DefaultRecordBatch.CODEC_NONE)
    await end_producer(producer, discard=True)


async def test_each_consumer_keeps_its_claims_to_itself(client: KafkaClient) -> None:
    one, two = client.consumer(group="g"), client.consumer(group="g")
    (first,), (second,) = one._partition_assignment_strategy, two._partition_assignment_strategy
    first.member_assignment = ["claim"]
    assert second.member_assignment is None
    await end_consumer(one)
    await end_consumer(two)


async def test_a_producer_is_idempotent_and_bounded_by_the_brokers(
    client: KafkaClient,
) -> None:
    producer = client.producer("id")
    manager = producer._txn_manager
    assert manager is not None
    assert (manager.transactional_id, manager.transaction_timeout_ms) == ("id", 42_000)
    assert producer._sender._acks == -1
    await end_producer(producer, discard=False)


async def test_without_a_transactional_id_a_producer_is_idempotent_all_the_same(
    client: KafkaClient,
) -> None:
    producer = client.producer(None)
    assert producer._txn_manager is not None
    assert producer._sender._acks == -1
    await end_producer(producer, discard=True)


def test_asking_for_a_topic_never_creates_it() -> None:
    request = aiokafka.client.MetadataRequest(["topic"])  # type: ignore[attr-defined]
    assert "allow_auto_topic_creation=False" in repr(request.build(MetadataRequest_v5))


@pytest.mark.parametrize("theirs", THEIRS)
def test_every_error_of_aiokafka_becomes_one_of_ours(theirs: type[Exception]) -> None:
    ours = translate(theirs(), "writing to x", TransactionLost)
    assert isinstance(ours, BridgeError)
    assert str(ours).startswith("writing to x: ")
    assert len(str(ours)) > len("writing to x: ")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (errors.ProducerFenced(), Fenced),
        (errors.InvalidProducerEpoch(), Fenced),
        (errors.KafkaConnectionError(), KafkaAway),
        (errors.NodeNotReadyError(), KafkaAway),
        (errors.RequestTimedOutError(), KafkaAway),
        (ConnectionRefusedError(), KafkaAway),
        (errors.TransactionalIdAuthorizationFailed(), KafkaAway),
        (errors.OffsetOutOfRangeError({"topic": 7}), StateError),
        (errors.InvalidTransactionTimeout(), ConfigError),
        (errors.OutOfOrderSequenceNumber(), TransactionLost),
        (errors.InvalidTxnState(), TransactionLost),
        (errors.MessageSizeTooLargeError(), TransactionLost),
        (AssertionError("Invalid state transition"), TransactionLost),
    ],
)
def test_what_to_do_next_follows_from_the_error(theirs: Exception, ours: type[BridgeError]) -> None:
    assert type(translate(theirs, "writing", TransactionLost)) is ours


async def test_a_call_that_takes_too_long_is_kafka_being_away() -> None:
    with pytest.raises(KafkaAway, match=r"waiting: no answer within 0\.01 s"):
        async with bounded("waiting", 0.01):
            await Clock().sleep(60)


async def test_our_own_errors_pass_unchanged() -> None:
    mine: Again = TransactionLost("mine")
    with pytest.raises(TransactionLost) as raised:
        async with bounded("writing", 1):
            raise mine
    assert raised.value is mine


def test_nothing_seeks_to_an_end_of_a_log_by_name() -> None:
    """Right after `assign` aiokafka may end up at the other end; only offsets are sought."""
    sources = Path(bridge.__file__).parent.rglob("*.py")
    assert not [path for path in sources if "seek_to_" in path.read_text()]
