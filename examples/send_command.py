"""Start a run by a command to Mission Bridge and wait for its result, with plain confluent-kafka.

pip install "confluent-kafka[avro,schemaregistry]"
python send_command.py localhost:9092 http://localhost:8081 MISSION_ID [TOPIC_PREFIX]

Prints the result; exit code 0 if the run was started, 1 if not, 75 if no result came in a minute.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

PATIENCE = 60.0


def at_the_end_of(topic: str, brokers: str) -> Consumer:
    """Return a consumer that shows what is written to a topic from now on."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"send-command-{uuid.uuid4()}",  # must be there; nothing is committed
            "enable.auto.commit": False,
            "isolation.level": "read_committed",  # a result counts once it is committed
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    ends = []
    for number in partitions:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
        ends.append(TopicPartition(topic, number, end))
    consumer.assign(ends)
    return consumer


def send(brokers: str, topic: str, registry: SchemaRegistryClient, command: dict[str, Any]) -> None:
    """Write a command, under the key and into the partition that the bridge expects."""
    schema = {"auto.register.schemas": False, "use.latest.version": True}
    serialize = AvroSerializer(registry, conf=schema)
    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "partitioner": "murmur2_random",  # as in the Java client; librdkafka's own is another
            "enable.idempotence": True,
        }
    )
    key = command["run_id"] or command["mission_id"] or command["command_id"]
    value = serialize(command, SerializationContext(topic, MessageField.VALUE))
    failed: list[Any] = []
    producer.produce(
        topic, value, key, on_delivery=lambda error, _: failed.append(error) if error else None
    )
    if producer.flush(30) or failed:
        raise SystemExit(f"the command was not written: {failed or 'no broker answered'}")


def wait_for_result(
    results: Consumer, topic: str, registry: SchemaRegistryClient, command_id: str
) -> dict[str, Any] | None:
    """Return the command's result; None if none came in time."""
    deserialize = AvroDeserializer(registry)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        message = results.poll(1.0)
        if message is None or message.error():
            continue
        result: Any = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
        # IN_DOUBT that is not final is still being looked into: another result follows.
        settled = result["final"] or result["status"] != "IN_DOUBT"
        if result["command_id"] == command_id and settled:
            return dict(result)
    return None


def main(brokers: str, registry_url: str, mission_id: str, prefix: str = "missions") -> int:
    """Start a run of a mission; return the exit code."""
    registry = SchemaRegistryClient({"url": registry_url})
    results = at_the_end_of(f"{prefix}.command-results", brokers)  # before anything is sent
    # Yours to choose: sent again under the same id, it is carried out once all the same.
    command_id = uuid.uuid4().hex
    command = {
        "command_id": command_id,
        "type": "start_run",
        "mission_id": mission_id,
        "run_id": None,
        "issued_at": time.time_ns() // 1_000,
        "body": ("missionbridge.v1.StartRun", {"input": json.dumps({"city": "Oslo"})}),
    }
    try:
        send(brokers, f"{prefix}.commands", registry, command)
        result = wait_for_result(results, f"{prefix}.command-results", registry, command_id)
    finally:
        results.close()
    if result is None:
        print(f"no result of {command_id} in {PATIENCE:g} s", file=sys.stderr)
        return 75
    names = ("command_id", "status", "run_id", "error")
    print(json.dumps({name: result[name] for name in names}))
    return 0 if result["status"] in {"SUCCEEDED", "ALREADY_DONE"} else 1


if __name__ == "__main__":
    if len(sys.argv) not in {4, 5}:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
