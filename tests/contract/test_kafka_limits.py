"""Brokers that cannot be worked with: what is said names the cause and the setting."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from support.brokers import Broker, limited
from support.kafka import create_topics, read_topic

from bridge.clock import SECOND, Clock, Micros
from bridge.config.models import KafkaSettings
from bridge.errors import ClockOff, ConfigError, DependencyAway, KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease
from bridge.kafka.producer import Record, Writer

HOUR: Micros = 3600 * SECOND
LIMITS = ("transaction.max.timeout.ms=10000", "group.max.session.timeout.ms=8000")
NO_LOG = ("transaction.state.log.replication.factor=3",)


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    try:
        with limited(*request.param) as broker:
            yield broker
    except DependencyAway as reason:
        if os.environ.get("CI") == "true":  # there a part that the machine can run must run
            raise
        pytest.skip(str(reason))


class SetClock(Clock):
    """A clock that is off by so much."""

    def __init__(self) -> None:
        self.off: Micros = 0

    def now(self) -> Micros:
        return super().now() + self.off


@pytest.mark.parametrize("broker", [LIMITS], indirect=True, ids=["limits"])
async def test_a_transaction_time_that_brokers_forbid_names_the_setting(broker: Broker) -> None:
    kafka = KafkaClient(KafkaSettings(bootstrap_servers=broker.address))
    with pytest.raises(ConfigError, match="BRIDGE_KAFKA__TRANSACTION_TIMEOUT is longer than"):
        await Writer.open(kafka, "t", role="source", clock=Clock(), timeout=20)


@pytest.mark.parametrize("broker", [LIMITS], indirect=True, ids=["limits"])
async def test_a_session_time_that_brokers_forbid_names_the_setting(broker: Broker) -> None:
    create_topics(broker.address, {"sessions": 1})
    kafka = KafkaClient(KafkaSettings(bootstrap_servers=broker.address, session_timeout=9))
    lease = Lease(kafka, group="g", topic="sessions", clock=Clock())
    with pytest.raises(ConfigError, match="BRIDGE_KAFKA__SESSION_TIMEOUT is not between"):
        await asyncio.wait_for(lease.run(asyncio.Event()), 60)


@pytest.mark.parametrize("broker", [LIMITS], indirect=True, ids=["limits"])
@pytest.mark.parametrize("hours", [2, 24])
async def test_a_clock_that_is_ahead_is_named_and_waited_for_where_it_was_right_before(
    broker: Broker, hours: int
) -> None:
    topic = f"times-{hours}"
    create_topics(broker.address, {topic: 1})
    settings = KafkaSettings(bootstrap_servers=broker.address, transaction_timeout=9)
    kafka, clock = KafkaClient(settings), SetClock()

    async def write() -> None:
        writer = await Writer.open(kafka, topic, role="source", clock=clock, timeout=20)
        try:
            await writer.commit([Record(topic, 0, b"k", b"v")])
        finally:
            await writer.close()

    clock.off = hours * HOUR
    with pytest.raises(ConfigError, match=r"clock is ahead.*timestamp\.after\.max\.ms.*It shows 2"):
        await write()
    clock.off = 0
    await write()
    clock.off = hours * HOUR
    with pytest.raises(ClockOff, match="set the clock"):
        await write()
    clock.off = -hours * HOUR
    await write()
    assert len(await asyncio.to_thread(read_topic, broker.address, topic)) == 2


@pytest.mark.parametrize("broker", [NO_LOG], indirect=True, ids=["no transaction log"])
async def test_a_transaction_log_that_needs_more_brokers_is_named(broker: Broker) -> None:
    kafka = KafkaClient(KafkaSettings(bootstrap_servers=broker.address))
    with pytest.raises(KafkaAway, match=r"transaction\.state\.log\.replication\.factor"):
        await Writer.open(kafka, "t", role="source", clock=Clock(), timeout=8)
