"""What reading promises: a partition to its claim, and a share of a group's partitions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from aiokafka import TopicPartition
from support.brokers import Broker
from support.kafka import create_topics, list_topics, wait_until
from support.raw_kafka import Raw, batch, produce

from bridge.clock import Clock
from bridge.errors import KafkaAway, StateError, Undecodable
from bridge.kafka.client import KafkaClient, end_producer
from bridge.kafka.consumer import Membership, Received, read_partition
from bridge.kafka.producer import Record, Writer
from bridge.kafka.tail import follow
from bridge.kafka.topic_reader import open_topic

CLOCK = Clock()
Write = Callable[..., Awaitable[None]]


@pytest.fixture
def topic(kafka: Broker, topic_prefix: str) -> str:
    name = f"{topic_prefix}.topic"
    create_topics(kafka.address, {name: 6})
    return name


@pytest.fixture
async def write(kafka_client: KafkaClient, topic: str) -> AsyncIterator[Write]:
    """Write values to partitions, all in one transaction."""
    writer = await Writer.open(
        kafka_client, f"{topic}.writer", role="source", clock=CLOCK, timeout=20
    )

    async def write(*values: tuple[int, str]) -> None:
        await writer.commit([Record(topic, at, b"k", value.encode()) for at, value in values])

    yield write
    await writer.close()


async def values_of(reading: AsyncIterator[Received]) -> list[str]:
    return [(record.value or b"").decode() async for record in reading]


async def test_a_partition_is_read_from_its_start_until_the_claim_is_seen(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    await write((0, "1"), (1, "another partition"), (0, "2"))
    await write((0, "claim"), (0, "behind the claim"))
    reading = read_partition(
        kafka_client, topic, 0, until=lambda record: record.value == b"claim", timeout=20
    )
    assert await values_of(reading) == ["1", "2", "claim"]


async def test_what_client_libraries_do_not_decode_is_shown_to_every_reader(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    named = Raw(b"k", b"2", ((b"\xff\xfe", b"x"),))
    now = CLOCK.now() // 1000
    odd = batch([Raw(b"k", b"1"), named, Raw(None, None)], time=now)
    bomb = batch([Raw(b"k", bytes(700 * 2**20))], "zstd", time=now)
    assert len(bomb) < 100_000
    for data in (odd, bomb, batch([Raw(b"k", b"5")], "gzip", time=now)):
        await asyncio.to_thread(produce, kafka.address, topic, 0, data)

    def check(records: list[Received]) -> None:
        assert [record.offset for record in records] == [0, 1, 2, 3, 4]
        one, named, empty, stub, last = records
        assert (one.value, named.value, empty.value, last.value) == (b"1", b"2", None, b"5")
        assert named.headers == (("\udcff\udcfe", b"x"),)
        assert isinstance(stub.value, Undecodable)
        assert (stub.key, stub.value.length, len(stub.value)) == (b"k", 700 * 2**20, 4096)

    reading = read_partition(kafka_client, topic, 0, until=None, timeout=20)
    check([record async for record in reading])
    seen: list[Received] = []
    async with aclosing(follow(kafka_client, topic, 0, clock=CLOCK)) as tails:
        async for tail in tails:
            seen += tail.records
            if tail.whole:
                break
    check(seen)
    async with open_topic(kafka_client, topic) as reader:
        reader.seek(await reader.starts())
        found: list[Received] = []
        while len(found) < 5:
            found += await reader.poll(0.5)
        check(found)
    member = Membership(kafka_client, group=f"{topic}.group", topics=[topic], clock=CLOCK)
    await member.start()
    try:
        taken: list[Received] = []
        at = TopicPartition(topic, 0)
        while at not in member.assigned:
            await member.poll(0.1)
        member.seek(at, 0)
        member.resume([at])
        while len(taken) < 5:
            taken += await member.poll(0.2)
        check(taken)
    finally:
        await member.close()


async def test_without_a_claim_a_partition_is_read_to_the_end_it_had_at_the_beginning(
    kafka: Broker, kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    assert await values_of(read_partition(kafka_client, topic, 0, until=None, timeout=20)) == []
    await write(*((0, str(i)) for i in range(100)))

    async def read() -> list[str]:
        return await values_of(read_partition(kafka_client, topic, 0, until=None, timeout=20))

    end = CLOCK.monotonic() + 10
    while len(values := await read()) < 100 and CLOCK.monotonic() < end:
        pass  # a commit shows a little after it returns
    assert values == [str(i) for i in range(100)]


async def test_an_aborted_end_of_a_partition_is_read_past(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    producer = kafka_client.producer(f"{topic}.aborter")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"aborted", partition=0)
    await producer.abort_transaction()
    await producer.stop()
    assert await values_of(read_partition(kafka_client, topic, 0, until=None, timeout=20)) == []


async def test_a_foreign_open_transaction_is_waited_for_and_hides_nothing(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    await write((0, "batch 1"))
    foreign = kafka_client.producer(f"{topic}.foreign")
    await foreign.start()
    await foreign.begin_transaction()
    await foreign.send_and_wait(topic, b"foreign", partition=0)
    await write((0, "batch 2"))
    await write((0, "claim"))
    reading = asyncio.create_task(
        values_of(
            read_partition(
                kafka_client, topic, 0, until=lambda record: record.value == b"claim", timeout=20
            )
        )
    )
    done, _ = await asyncio.wait({reading}, timeout=1)
    assert not done
    await foreign.abort_transaction()
    await end_producer(foreign, discard=False)
    assert await reading == ["batch 1", "batch 2", "claim"]


async def test_without_a_claim_an_open_transaction_is_waited_for_as_well(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    foreign = kafka_client.producer(f"{topic}.foreign")
    await foreign.start()
    await foreign.begin_transaction()
    await foreign.send_and_wait(topic, b"foreign", partition=0)
    await write((0, "behind it"))
    reading = asyncio.create_task(
        values_of(read_partition(kafka_client, topic, 0, until=None, timeout=20))
    )
    done, _ = await asyncio.wait({reading}, timeout=1)
    assert not done
    await foreign.abort_transaction()
    await end_producer(foreign, discard=False)
    assert await reading == ["behind it"]


async def test_reading_that_makes_no_progress_ends_with_a_reason(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    await write((0, "1"))
    with pytest.raises(KafkaAway, match=f"reading {topic}-0 from offset"):
        await values_of(read_partition(kafka_client, topic, 0, until=lambda _: False, timeout=1))


async def test_reading_a_missing_topic_does_not_create_it(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    with pytest.raises(KafkaAway):
        await values_of(read_partition(kafka_client, f"{topic}.missing", 0, until=None, timeout=1))
    assert f"{topic}.missing" not in list_topics(kafka.address)


class Owner:
    """Takes turns on a membership; reads each new partition from `starts`, notes its records."""

    def __init__(self, kafka: KafkaClient, topic: str, starts: dict[int, int]) -> None:
        self.membership = Membership(kafka, group=f"{topic}.g", topics=[topic], clock=CLOCK)
        self.starts = starts
        self.owned: set[int] = set()
        self.got: list[tuple[int, str]] = []
        self._topic = topic

    async def turns(self) -> None:
        await self.membership.start()
        while True:
            assigned = {at.partition for at in self.membership.assigned}
            for partition in assigned - self.owned:
                at = TopicPartition(self._topic, partition)
                self.membership.seek(at, self.starts.get(partition, 0))
                self.membership.resume([at])
            self.owned = assigned
            for record in await self.membership.poll(0.1):
                self.got.append((record.partition, (record.value or b"").decode()))


@asynccontextmanager
async def owning(owner: Owner) -> AsyncIterator[Owner]:
    task = asyncio.create_task(owner.turns())
    try:
        yield owner
    finally:
        task.cancel()
        await asyncio.wait({task})
        await owner.membership.close()


async def test_a_new_partition_is_silent_until_its_owner_seeks_and_resumes_it(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    await write((0, "0"), (0, "1"), (0, "2"))
    membership = Membership(kafka_client, group=f"{topic}.g", topics=[topic], clock=CLOCK)
    await membership.start()
    at = TopicPartition(topic, 0)
    while not membership.assigned:
        assert await membership.poll(0.1) == []
    assert membership.changed.is_set()
    assert await membership.poll(1) == []
    membership.seek(at, 1)
    assert await membership.poll(0.5) == []
    membership.resume([at])
    got: list[Received] = []
    while len(got) < 2:
        got += await membership.poll(0.5)
    assert [record.offset for record in got] == [1, 2]
    membership.pause([at])
    await write((0, "3"))
    assert await membership.poll(0.5) == []
    membership.resume([at])
    assert [record.value for record in await membership.poll(5)] == [b"3"]
    membership.seek(TopicPartition(topic, 77), 0)  # not ours: the owner's news may be a turn old
    await membership.close()


async def test_three_members_share_the_partitions_and_each_record_is_seen_once(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    """Partitions that a member keeps go on where they were, without its owner's doing."""
    owners = [Owner(kafka_client, topic, {}) for _ in range(3)]
    async with owning(owners[0]):
        await wait_until(lambda: len(owners[0].owned) == 6)
        await write(*((i, f"{i}-0") for i in range(6)))
        await wait_until(lambda: len(owners[0].got) == 6)
        # Those that move go on from here, as an owner that reads a ledger would.
        for owner in owners[1:]:
            owner.starts = dict.fromkeys(range(6), 2)
        async with owning(owners[1]), owning(owners[2]):
            await wait_until(lambda: [len(owner.owned) for owner in owners] == [2, 2, 2])
            assert set().union(*(owner.owned for owner in owners)) == set(range(6))
            await write(*((i, f"{i}-1") for i in range(6)))
            await wait_until(lambda: sum(len(owner.got) for owner in owners) == 12)
            shares = [set(owner.owned) for owner in owners]
        # The others left: what they had comes back, and begins where the owner says.
        owners[0].starts = dict.fromkeys(range(6), 4)
        await wait_until(lambda: len(owners[0].owned) == 6)
        await write(*((i, f"{i}-2") for i in range(6)))
        await wait_until(lambda: len(owners[0].got) == 6 + 2 + 6)
    everything = [got for owner in owners for got in owner.got]
    assert sorted(everything) == sorted((i, f"{i}-{j}") for i in range(6) for j in range(3))
    for owner, share in zip(owners, shares, strict=True):
        assert {at for at, value in owner.got if value.endswith("-1")} == share


async def test_a_joining_member_takes_no_more_than_its_share(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    first, second = Owner(kafka_client, topic, {}), Owner(kafka_client, topic, {})
    async with owning(first):
        await wait_until(lambda: len(first.owned) == 6)
        async with owning(second):
            await wait_until(lambda: len(second.owned) == 3)
            await wait_until(lambda: len(first.owned) == 3)
            before = set(first.owned)
            third = Owner(kafka_client, topic, {})
            async with owning(third):
                await wait_until(lambda: len(third.owned) == 2)
                await wait_until(lambda: len(first.owned) == 2)
                assert first.owned < before


async def test_records_that_an_open_transaction_hides_are_told_of_until_it_ends(
    kafka_client: KafkaClient, topic: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.kafka.consumer.STANDSTILL", 1.0)
    foreign = kafka_client.producer(f"{topic}.foreign")
    await foreign.start()
    await foreign.begin_transaction()
    await foreign.send_and_wait(topic, b"hidden", partition=0)
    await write((0, "behind it"))
    owner = Owner(kafka_client, topic, {})
    async with owning(owner):
        told = await wait_until(lambda: owner.membership.held_back)
        assert f"{topic}-0 stands at offset 0 of" in told
        assert owner.got == []
        await foreign.abort_transaction()
        await wait_until(lambda: owner.got == [(0, "behind it")])
        await wait_until(lambda: owner.membership.held_back is None)
    await end_producer(foreign, discard=False)


async def test_a_position_outside_the_log_is_an_error_that_says_so(
    kafka_client: KafkaClient, topic: str, write: Write
) -> None:
    await write((0, "0"))
    membership = Membership(kafka_client, group=f"{topic}.g", topics=[topic], clock=CLOCK)
    await membership.start()
    at = TopicPartition(topic, 0)
    while not membership.assigned:
        await membership.poll(0.1)
    membership.seek(at, 1_000)
    membership.resume([at])

    async def read() -> None:
        while True:
            await membership.poll(0.5)

    with pytest.raises(StateError, match=r"1000.*offsets reset"):
        await asyncio.wait_for(read(), 20)
    await membership.close()
