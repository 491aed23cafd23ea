"""Planning, creating and checking topics, on every Kafka there is."""

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from support.brokers import Broker
from support.kafka import create_topics, list_topics

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.kafka.client import KafkaClient
from bridge.kafka.topics import apply, check, plan, topic_specs

CLOCK = Clock()


def settings_of(kafka: Broker, topic: str) -> dict[str, str]:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {
        name: entry.value
        for name, entry in admin.describe_configs([resource])[resource].result(30).items()
    }


async def test_topics_are_planned_created_and_then_as_they_should_be(
    kafka: Broker, kafka_client: KafkaClient, topic_prefix: str
) -> None:
    specs = topic_specs(topic_prefix)
    problems = await check(kafka_client, specs)
    assert len(problems) == len(specs)
    assert all("is missing: `mission-bridge topics apply`" in problem for problem in problems)

    changes = await plan(kafka_client, specs, -1)
    assert [str(change).split(":")[0] for change in changes] == [
        f"create {spec.name}" for spec in specs.values()
    ]
    assert topic_prefix not in "".join(list_topics(kafka.address)), "looking created something"
    await apply(kafka_client, changes, CLOCK)

    there = list_topics(kafka.address)
    assert {spec.name: spec.partitions for spec in specs.values()}.items() <= there.items()
    for spec in specs.values():
        settings = settings_of(kafka, spec.name)
        assert settings["cleanup.policy"] == spec.cleanup
        assert spec.config.items() <= settings.items()
    assert await check(kafka_client, specs) == []
    assert await plan(kafka_client, specs, -1) == []
    await apply(kafka_client, changes, CLOCK)  # an old plan, again: nothing is wrong with that


async def test_topics_made_by_hand_are_mended_and_keep_their_other_settings(
    kafka: Broker, kafka_client: KafkaClient, topic_prefix: str
) -> None:
    specs = topic_specs(topic_prefix)
    state, commands = specs["command-state"].name, specs["commands"].name
    create_topics(kafka.address, {commands: 8})
    create_topics(kafka.address, {state: 3}, {"retention.ms": "1234567890"})
    await apply(kafka_client, await plan(kafka_client, specs, 1), CLOCK)
    assert await check(kafka_client, specs) == []
    assert list_topics(kafka.address)[state] == 8
    settings = settings_of(kafka, state)
    assert settings["cleanup.policy"] == "compact"
    assert settings["retention.ms"] == "1234567890"


async def test_refusals_of_the_brokers_are_listed_all_at_once(
    kafka: Broker, kafka_client: KafkaClient, topic_prefix: str
) -> None:
    specs = topic_specs(topic_prefix)
    with pytest.raises(ConfigError) as refusal:
        await apply(kafka_client, await plan(kafka_client, specs, 99), CLOCK)
    assert len(refusal.value.problems) == len(specs)
    assert f"create {topic_prefix}.events" in refusal.value.problems[0]


async def test_a_topic_that_takes_only_small_batches_is_named(
    kafka: Broker, kafka_client: KafkaClient, topic_prefix: str
) -> None:
    specs = {"events": topic_specs(topic_prefix)["events"]}
    create_topics(kafka.address, {specs["events"].name: 1}, {"max.message.bytes": "5000"})
    (problem,) = await check(kafka_client, specs)
    assert "max.message.bytes=5000" in problem
