"""What an independent reader finds on the topics, compared with what the simulator knows."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from bridge.dev.api.simulator import Simulator
from support.kafka import Seen, read_topic
from support.stage import Bridge, Stage, wait_for


@contextmanager
def decoder(registry_url: str, topic: str) -> Iterator[Callable[[bytes], Any]]:
    """Give a decoder of a topic's values that nobody here wrote."""
    with SchemaRegistryClient({"url": registry_url}) as registry:
        deserialize = AvroDeserializer(registry)
        context = SerializationContext(topic, MessageField.VALUE)
        yield lambda value: deserialize(value, context)


@dataclass(frozen=True)
class Verdict:
    """The difference between the events of the API and those of the topic."""

    shown: int
    published: int
    missing: list[str]
    doubled: list[str]
    unknown: list[str]
    out_of_order: list[str]
    late: int

    def assert_exact(self, but: Collection[str] = ()) -> None:
        """Fail unless every event is there, once, and in order within its run.

        Those in `but` must not be there: what cannot be converted becomes a dead letter.
        """
        told = (
            f"{self.shown} events, {self.published} records, {len(self.missing)} missing, "
            f"{len(self.doubled)} doubled, {len(self.unknown)} unknown, "
            f"{len(self.out_of_order)} out of order, {self.late} late"
        )
        assert self.missing == sorted(but), told
        wrong = self.doubled or self.unknown or self.out_of_order
        assert not wrong, told


def judge(simulator: Simulator, records: list[Seen], decode: Callable[[bytes], Any]) -> Verdict:
    """Compare the events that the simulator made (and did not delete) with a topic's records."""
    events = simulator.ledger()["events"]
    expected = {f"{e['run_id']}/{e['event_id']}" for e in events if e["deleted_at"] is None}
    every = {f"{e['run_id']}/{e['event_id']}" for e in events}
    found: Counter[str] = Counter()
    newest: dict[str, Any] = {}
    out_of_order: list[str] = []
    late = 0
    for record in records:
        assert record.value is not None
        event = decode(record.value)
        assert record.key == event["run_id"].encode()
        name = f"{event['run_id']}/{event['event_id']}"
        found[name] += 1
        before = newest.get(event["run_id"])
        is_late = before is not None and event["timestamp"] < before
        if is_late != event["late"]:
            out_of_order.append(name)
        late += event["late"]
        newest[event["run_id"]] = max(before or event["timestamp"], event["timestamp"])
    return Verdict(
        shown=len(expected),
        published=found.total(),
        missing=sorted(expected - found.keys()),
        doubled=[name for name, count in found.items() if count > 1],
        unknown=sorted(found.keys() - every),
        out_of_order=out_of_order,
        late=late,
    )


def events_on_topic(broker: str, prefix: str) -> list[Seen]:
    """Every committed record of the events topic, by partition and offset."""
    records = read_topic(broker, f"{prefix}.events", deadline=120)
    return sorted(records, key=lambda record: (record.partition, record.offset))


def of(scene: Stage) -> Verdict:
    """Compare a stage's API with its events topic."""
    records = events_on_topic(scene.broker, scene.prefix)
    with decoder(scene.registry_url, f"{scene.prefix}.events") as decode:
        return judge(scene.simulator, records, decode)


def expect_exact(
    scene: Stage, *bridges: Bridge, but: Collection[str] = (), deadline: float = 60.0
) -> None:
    """Wait until one of the bridges has published what there is, then see that it is exact.

    `but` are the names of events that are not there; see `Verdict.assert_exact`.
    """
    there = sum(event["deleted_at"] is None for event in scene.events())
    wait_for(lambda: any(bridge.published >= there for bridge in bridges), deadline)
    found = of(scene)
    if len(found.missing) > len(but):  # a commit shows a little after it returns
        wait_for(lambda: len(of(scene).missing) <= len(but), deadline)
        found = of(scene)
    found.assert_exact(but)
