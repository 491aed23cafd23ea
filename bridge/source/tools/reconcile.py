"""Compares what the API shows of one source with what is on Kafka, by reading both."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.source.reading.windows import BEGINNING, Found
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.compare import Comparison, Counts, Difference
from bridge.source.tools.stored_event import kept


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison came to; `until` is the watermark of the source (None: not known)."""

    topic: str
    since: Micros | None
    until: Micros | None
    counts: Counts
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class RunName:
    """A run by its names."""

    mission_id: str
    run_id: str


async def reconcile(
    view: SourceAccess,
    topic: Sequence[TopicPartition],
    *,
    since: Micros | None,
    run: RunName | None,
) -> Report:
    """Compare the API with `topic`: all events or those of one run, from a time on if one is given.

    The API is read first, then the watermark, then Kafka: what the watermark speaks of is on Kafka
    by then. Raises StateError, what the API client raises, KafkaAway, RegistryAway.
    """
    layout, name = view.desk.layout, topic[0].topic
    comparison = Comparison(
        view.source.name,
        low=BEGINNING if since is None else since,
        is_copy=name != layout.events,
    )
    listing = view.feed if run is None else view.run_list(run.mission_id, run.run_id)

    async def found(one: Found) -> None:
        for item in one.items:
            if run is None or item.run_id == run.run_id:
                comparison.show(item)

    await view.read(listing, BEGINNING if since is None else since, found)
    checkpoint = await view.desk.look()
    until = checkpoint.position.complete_until(view.lateness(checkpoint))
    subject = f"{layout.events}-value"
    for where, partitions in ((name, len(topic)), (layout.dead_letters, 1)):
        async with aclosing(view.records(where, range(partitions))) as records:
            async for record in records:
                if run is None or record.key == run.run_id.encode():
                    comparison.find(await kept(view.desk.codec, subject, record))
    differences = comparison.differences(start=checkpoint.position.counted_from, until=until)
    return Report(name, since, until, comparison.counts, differences)
