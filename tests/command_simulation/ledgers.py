"""The ledgers and other topics as readers of committed records find them, decoded."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from aiokafka import TopicPartition
from simulation.brokers import Written
from simulation.process import CODEC

from command_simulation.cluster import Cluster
from command_simulation.stage import STATE

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """A committed record; `value` is None for a tombstone, `commit` the writer's call."""

    offset: int
    key: str
    value: dict[str, Any] | None
    commit: int


def ledger(cluster: Cluster, number: int) -> Iterator[Found]:
    """Yield all that a partition's ledger ever said, in its order, compacted away or not."""
    at = TopicPartition(STATE, number)
    everything = [*cluster.removed[at], *cluster.logs[at].committed()]
    for offset, record in sorted(everything, key=itemgetter(0)):
        if record.key != b"stranger":
            yield found(STATE, offset, record)


def found(topic: str, offset: int, record: Written) -> Found:
    """Decode a record."""
    value = None
    if record.value is not None:
        value = _at_once(CODEC.decode(f"{topic}-value", record.value))
    return Found(offset, (record.key or b"").decode(), value, record.commit)


def first_not_begun(cluster: Cluster, number: int) -> int:
    """Return the first offset of a partition of commands of which its ledger knows nothing."""
    low, begun = 0, set[int]()
    for one in ledger(cluster, number):
        if one.value is None:
            continue
        if one.value["kind"] == "position":
            low = one.value["position"]["low"]
            begun.update(covered(one.value["position"]) - set(range(low)))
        elif one.value["command"] is not None:
            begun.add(one.value["command"]["offset"])
    while low in begun:
        low += 1
    return low


def covered(position: dict[str, Any]) -> set[int]:
    """Return the offsets that a position says are complete."""
    spans = (range(span["first"], span["last"] + 1) for span in position["completed"])
    return set(range(position["low"])).union(*spans)


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns that never has to wait."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it had to wait")
