"""A lease: one works, the other stands by, and takes over when the first leaves or dies."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer
from support.brokers import Broker
from support.kafka import create_topics, wait_until

from bridge.clock import Clock
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease

CLOCK = Clock()

HOLDER = """
import asyncio, sys
from bridge.clock import Clock
from bridge.config.models import KafkaSettings
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease

async def main(address, group, topic):
    settings = KafkaSettings(bootstrap_servers=address, session_timeout=6)
    lease = Lease(KafkaClient(settings), group=group, topic=topic, clock=Clock())
    holding = asyncio.create_task(lease.run(asyncio.Event()))
    while True:
        await lease.changed.wait()
        lease.changed.clear()
        print(sorted(lease.owned), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def topic(kafka: Broker, topic_prefix: str) -> str:
    name = f"{topic_prefix}.checkpoint"
    create_topics(kafka.address, {name: 1})
    return name


@asynccontextmanager
async def holding(kafka: KafkaClient, topic: str) -> AsyncIterator[Lease]:
    lease = Lease(kafka, group=f"{topic}.g", topic=topic, clock=CLOCK)
    stop = asyncio.Event()
    task = asyncio.create_task(lease.run(stop))
    try:
        yield lease
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


async def test_a_lease_is_handed_over_when_its_owner_leaves(
    kafka_client: KafkaClient, topic: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with holding(kafka_client, topic) as first:
            await wait_until(lambda: first.owned == {0})
            assert first.changed.is_set()
            second = await stack.enter_async_context(holding(kafka_client, topic))
            left_at = CLOCK.monotonic()
        assert first.owned == frozenset()
        await wait_until(lambda: second.owned == {0})
        assert CLOCK.monotonic() - left_at < 6, "handed over by time-out, not by leaving"
    assert second.owned == frozenset()


async def test_a_joining_process_does_not_take_the_lease_from_a_healthy_owner(
    kafka_client: KafkaClient, topic: str
) -> None:
    async with holding(kafka_client, topic) as first:
        await wait_until(lambda: first.owned == {0})
        first.changed.clear()
        for _ in range(2):
            async with holding(kafka_client, topic) as second:
                await CLOCK.sleep(3)  # a rebalance needs a heartbeat of each, every 2 s
                assert second.owned == frozenset()
        assert first.owned == {0}
        assert not first.changed.is_set()


@asynccontextmanager
async def another_process(kafka: Broker, topic: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a process that takes the lease; it prints what it owns at each change."""
    command = [sys.executable, "-c", HOLDER, kafka.address, f"{topic}.g", topic]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert await owned_by(process) == b"[0]\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def owned_by(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await asyncio.wait_for(process.stdout.readline(), 30)


@pytest.mark.embedded_lacks("the embedded broker never times a member out")
async def test_a_lease_passes_on_when_its_owner_is_killed(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    async with (
        another_process(kafka, topic) as owner,
        holding(kafka_client, topic) as standby,
    ):
        await CLOCK.sleep(3)
        assert standby.owned == frozenset()
        owner.kill()
        await wait_until(lambda: standby.owned == {0}, 40 if kafka.real else 12)


async def test_a_lease_passes_on_when_the_session_of_a_killed_owner_ends(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    async with another_process(kafka, topic) as owner:
        owner.kill()
        await owner.wait()
        await kafka.expire_sessions()
        async with holding(kafka_client, topic) as standby:
            await wait_until(lambda: standby.owned == {0}, 40)


@pytest.mark.embedded_lacks("the embedded broker never times a member out")
async def test_a_frozen_owner_loses_the_lease_and_sees_it_when_it_wakes(
    kafka: Broker, kafka_client: KafkaClient, topic: str
) -> None:
    async with (
        another_process(kafka, topic) as frozen,
        holding(kafka_client, topic) as standby,
    ):
        await CLOCK.sleep(3)
        frozen.send_signal(signal.SIGSTOP)
        await wait_until(lambda: standby.owned == {0}, 40 if kafka.real else 12)
        standby.changed.clear()
        frozen.send_signal(signal.SIGCONT)
        assert await owned_by(frozen) == b"[]\n"
        assert standby.owned == {0}
        assert not standby.changed.is_set()


async def test_an_owner_that_reads_nothing_is_not_put_out_for_it(
    kafka_client: KafkaClient, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka leaves a group when nobody asks for records for `max_poll_interval`, and shows the
    partitions as assigned all the same."""
    consumer = kafka_client.consumer

    def impatient(*, group: str | None) -> AIOKafkaConsumer:
        made = consumer(group=group)
        made._max_poll_interval_ms = 1_000
        return made

    monkeypatch.setattr(kafka_client, "consumer", impatient)
    async with holding(kafka_client, topic) as first:
        await wait_until(lambda: first.owned == {0})
        await CLOCK.sleep(2.5)
        async with holding(kafka_client, topic) as second:
            await CLOCK.sleep(3)
            assert first.owned == {0}
            assert second.owned == frozenset()
