"""Kafka as the command side needs it: more partitions, retention, compaction, group offsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final

from aiokafka import TopicPartition
from simulation.brokers import Brokers, Transaction, Written
from simulation.virtual import VirtualLoop

OFFSETS: Final = TopicPartition("__consumer_offsets", 0)
"""Where groups commit: a log as any other, so that it shows what transactions have committed."""

TOMBSTONES: Final = 20.0
"""Seconds for which compaction leaves a tombstone that it has seen."""

_ALONE: Final = Transaction(committed=True)
"""Stands for all records that were written without a transaction."""


class Cluster(Brokers):
    """Brokers with `counts` of partitions by topic; `begins` is where retention has cut a log.

    `authors` has who was behind each call of a writer, `appended` is called for what users
    write. `removed` is what compaction took away.
    """

    def __init__(self, loop: VirtualLoop, rng: Random, counts: Mapping[str, int]) -> None:
        super().__init__(loop, rng)
        self.counts = counts
        self.begins: dict[TopicPartition, int] = defaultdict(int)
        self.authors: dict[int, str] = {}
        self.appended: list[Callable[[], None]] = []
        self.removed: dict[TopicPartition, list[tuple[int, Written]]] = defaultdict(list)
        self._tombstones: dict[tuple[TopicPartition, int], float] = {}
        """When compaction came over each first."""

    def append(
        self,
        at: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """Write a record as a user does; return its offset."""
        log = self.logs[at]
        log.entries.append((Written(at, key, value, headers, 0), _ALONE))
        for wake in self.appended:
            wake()
        return len(log.entries) - 1

    def expire(self, at: TopicPartition, begin: int) -> None:
        """Let retention remove what lies below `begin`."""
        self.begins[at] = max(self.begins[at], begin)

    def compact(self, at: TopicPartition) -> None:
        """Remove what a later record of the same key has replaced, and tombstones some time later.

        Kafka leaves tombstones for `delete.retention.ms`, so that who follows a log sees them.
        """
        log, now = self.logs[at], self._loop.time()
        last: dict[bytes | None, int] = {}
        for offset, record in log.committed():
            last[record.key] = offset
        for offset, record in list(log.committed()):
            gone = last[record.key] != offset
            if not gone and record.value is None:
                gone = now - self._tombstones.setdefault((at, offset), now) > TOMBSTONES
            if gone:
                self.removed[at].append((offset, record))
                log.entries[offset] = None

    def records(self, topic: str) -> Iterator[tuple[int, Written]]:
        """Yield the committed records of a topic with their offsets, partition by partition."""
        for number in range(self.counts[topic]):
            yield from self.logs[TopicPartition(topic, number)].committed()

    def offset_of(self, at: TopicPartition) -> int | None:
        """Return what the group has committed for a partition, as far as it shows."""
        key = f"{at.topic}/{at.partition}".encode()
        found = [one.value for _, one in self.logs[OFFSETS].committed() if one.key == key]
        return int(found[-1]) if found and found[-1] is not None else None
