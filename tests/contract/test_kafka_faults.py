"""What becomes of a transaction when brokers fail in the middle of it: a scripted broker."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.transaction import EndTxnRequest
from support.mock_kafka import (
    ADD_PARTITIONS,
    CONNECTION_CUT,
    END_TXN,
    MESSAGE_TOO_LARGE,
    NOT_ENOUGH_REPLICAS,
    PRODUCE,
    MockKafka,
    mock_kafka,
)

from bridge.clock import Clock
from bridge.config.models import KafkaSettings
from bridge.errors import BridgeError, KafkaAway, TransactionLost
from bridge.kafka import consumer as consuming
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease
from bridge.kafka.producer import Record, Writer

CLOCK = Clock()
RECORDS = [Record("topic", 0, b"k", b"1"), Record("topic", 1, b"k", b"2")]


@pytest.fixture
def broker() -> Iterator[MockKafka]:
    with mock_kafka() as mock:
        mock.create_topic("topic", partitions=2)
        yield mock


@pytest.fixture
def client(broker: MockKafka) -> KafkaClient:
    return KafkaClient(KafkaSettings(bootstrap_servers=broker.address))


async def opened(client: KafkaClient, timeout: float = 20) -> Writer:
    writer = await Writer.open(client, "id", role="source", clock=CLOCK, timeout=timeout)
    await writer.commit(RECORDS)
    return writer


async def closed(writer: Writer) -> None:
    """Close a writer and see that aiokafka is really gone: no task of it is left."""
    await asyncio.wait_for(writer.close(), 20)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("failure", [CONNECTION_CUT, 14, 15, 16])
async def test_a_commit_whose_end_was_sent_twice_is_not_a_commit(
    broker: MockKafka, client: KafkaClient, failure: int
) -> None:
    """aiokafka itself reports success: the first copy may arrive later and end another one."""
    writer = await opened(client)
    broker.fail(END_TXN, failure)
    with pytest.raises(TransactionLost, match="sent 2 times"):
        await writer.commit(RECORDS)
    with pytest.raises(TransactionLost, match="used up"):
        await writer.commit(RECORDS)
    await closed(writer)


async def test_an_end_that_was_carried_out_and_whose_answer_was_lost_is_counted_too(
    client: KafkaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    send: Callable[..., Awaitable[object]] = AIOKafkaClient.send
    lost: list[object] = []

    async def losing(self: AIOKafkaClient, node: int, request: object, **where: object) -> object:
        answer = await send(self, node, request, **where)
        if isinstance(request, EndTxnRequest) and not lost:
            lost.append(answer)
            raise KafkaConnectionError
        return answer

    monkeypatch.setattr(AIOKafkaClient, "send", losing)
    writer = await Writer.open(client, "id", role="source", clock=CLOCK, timeout=20)
    with pytest.raises(TransactionLost):
        await writer.commit(RECORDS)
    assert lost
    await closed(writer)


async def test_a_transaction_that_lost_a_record_is_not_committed(
    broker: MockKafka, client: KafkaClient
) -> None:
    """aiokafka would commit the rest and report success."""
    writer = await opened(client)
    broker.fail(PRODUCE, MESSAGE_TOO_LARGE)
    with pytest.raises(TransactionLost, match="MessageSizeTooLarge"):
        await writer.commit(RECORDS)
    await closed(writer)


async def test_records_are_written_by_the_batch(
    client: KafkaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time costs eight times as much."""
    monkeypatch.delattr(AIOKafkaProducer, "send")
    writer = await opened(client)
    await closed(writer)


async def test_a_failure_that_aiokafka_may_repeat_safely_is_no_failure(
    broker: MockKafka, client: KafkaClient
) -> None:
    writer = await opened(client)
    broker.fail(PRODUCE, NOT_ENOUGH_REPLICAS)
    broker.fail(ADD_PARTITIONS, 51)  # concurrent transactions: the last one is still being ended
    await writer.commit(RECORDS)
    await closed(writer)


async def test_brokers_that_go_away_before_the_end_is_asked_for_leave_nothing_written(
    broker: MockKafka, client: KafkaClient
) -> None:
    writer = await opened(client, timeout=1)
    broker.down()
    with pytest.raises(KafkaAway, match="no answer within 1 s"):
        await writer.commit(RECORDS)
    with pytest.raises(KafkaAway):
        await writer.partitions("unknown")
    await closed(writer)


async def test_an_end_without_an_answer_leaves_the_fate_unknown(
    broker: MockKafka, client: KafkaClient
) -> None:
    writer = await opened(client, timeout=1)
    broker.lose_answer(END_TXN)
    with pytest.raises(TransactionLost, match="may have been committed"):
        await writer.commit(RECORDS)
    await closed(writer)


async def test_a_cancelled_commit_uses_the_writer_up(
    broker: MockKafka, client: KafkaClient
) -> None:
    writer = await opened(client)
    broker.lose_answer(END_TXN)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.commit(RECORDS), 0.5)
    with pytest.raises(TransactionLost, match="used up"):
        await writer.commit(RECORDS)
    await closed(writer)


async def test_nobody_listening_is_said_in_time_by_everything(unused_tcp_port: int) -> None:
    client = KafkaClient(KafkaSettings(bootstrap_servers=f"127.0.0.1:{unused_tcp_port}"))
    with pytest.raises(KafkaAway):
        await Writer.open(client, "id", role="source", clock=CLOCK, timeout=5)
    with pytest.raises(KafkaAway):
        async for _ in consuming.read_partition(client, "topic", 0, until=None, timeout=5):
            pass
    membership = consuming.Membership(client, group="g", topics=["topic"], clock=CLOCK)
    with pytest.raises(KafkaAway):
        await membership.start()
    await membership.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_lease_without_brokers_is_not_owned_and_comes_back(
    broker: MockKafka, client: KafkaClient
) -> None:
    lease = Lease(client, group="g", topic="topic", clock=CLOCK)
    stop = asyncio.Event()
    running = asyncio.create_task(lease.run(stop))
    await asyncio.wait_for(lease.changed.wait(), 20)
    assert lease.owned == {0, 1}
    stop.set()
    await asyncio.wait_for(running, 20)
    assert lease.owned == frozenset()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_member_whose_fetches_get_no_answer_says_so(
    broker: MockKafka, client: KafkaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "SILENCE", 2.0)
    membership = consuming.Membership(client, group="g", topics=["topic"], clock=CLOCK)
    await membership.start()
    while not membership.assigned:
        await membership.poll(0.1)
    membership.resume(membership.assigned)
    for _ in range(8):
        await membership.poll(0.5)  # nothing to read is not silence
    broker.down()

    async def read() -> None:
        while True:
            await membership.poll(0.2)

    with pytest.raises(BridgeError, match="no answer"):
        await asyncio.wait_for(read(), 30)
    await membership.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
