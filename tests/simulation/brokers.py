"""Kafka as far as transactions go: logs, the last stable offset, markers, and fencing by epoch.

Requests are methods that raise aiokafka's errors; who calls them, when, and whether the answer
arrives is the business of `clients.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from aiokafka import TopicPartition, errors

from simulation.virtual import VirtualLoop

TRANSACTION_TIMEOUT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """A record in a log. `commit` is the call of the writer that it came with, for the oracle."""

    at: TopicPartition
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    commit: int


@dataclass(slots=True, eq=False)
class Transaction:
    """What the brokers take for one transaction, whatever the client meant."""

    partitions: set[TopicPartition] = field(default_factory=set)
    committed: bool | None = None
    """None while it is open."""


@dataclass(slots=True)
class Log:
    """One partition: records with their transactions; None stands for a control marker."""

    entries: list[tuple[Written, Transaction] | None] = field(default_factory=list)
    open: dict[Transaction, int] = field(default_factory=dict)
    """Where each open transaction begins."""

    @property
    def stable(self) -> int:
        """The last stable offset: as far as readers of committed records can see."""
        return min(self.open.values(), default=len(self.entries))

    def committed(self, begin: int = 0) -> Iterator[tuple[int, Written]]:
        """Yield what readers of committed records see from an offset on."""
        for offset, entry in enumerate(self.entries[begin : self.stable], begin):
            if entry is not None and entry[1].committed:
                yield offset, entry[0]

    def everything(self, begin: int = 0) -> Iterator[tuple[int, Written]]:
        """Yield what readers of uncommitted records see."""
        for offset, entry in enumerate(self.entries[begin:], begin):
            if entry is not None:
                yield offset, entry[0]

    def append(self, record: Written, transaction: Transaction) -> None:
        self.open.setdefault(transaction, len(self.entries))
        self.entries.append((record, transaction))

    def end(self, transaction: Transaction) -> None:
        """Write the marker that ends a transaction."""
        self.entries.append(None)
        self.open.pop(transaction, None)


@dataclass(slots=True)
class Coordinator:
    """What is known of one transactional id."""

    epoch: int = -1
    ongoing: Transaction | None = None
    ending: Transaction | None = None
    """Its end is decided, its markers are not yet written."""
    ended: bool | None = None
    """How the last transaction of this epoch ended: True if committed."""


class Brokers:
    """The cluster. `away` while nobody can reach it.

    `slow` is the share of batches of a transaction before which seconds pass.
    """

    def __init__(self, loop: VirtualLoop, rng: Random, slow: float = 0.01) -> None:
        self.logs: dict[TopicPartition, Log] = defaultdict(Log)
        self.away = False
        self.slow = slow
        self._loop = loop
        self._rng = self.chance = rng
        self._ids: dict[str, Coordinator] = defaultdict(Coordinator)
        self.commits = 0
        self.producers = 0

    def init_producer_id(self, name: str) -> int:
        """Fence earlier producers of this id and abort what they left open; return the epoch.

        Raises ConcurrentTransactions until a transaction that is being ended has all its markers.
        """
        known = self._ids[name]
        if known.ongoing is not None:
            known.epoch += 1
            self._finish(known, commit=False)
        if known.ending is not None:
            raise errors.ConcurrentTransactions
        known.epoch += 1
        known.ended = None
        self.producers += 1
        return known.epoch

    def produce(
        self, name: str, epoch: int, at: TopicPartition, records: Sequence[Written], *, add: bool
    ) -> None:
        """Append records; with `add` the partition joins the transaction, or begins one."""
        known = self._admit(name, epoch)
        if add:
            if known.ending is not None:
                raise errors.ConcurrentTransactions
            if known.ongoing is None:
                known.ongoing = Transaction()
                self._loop.call_later(TRANSACTION_TIMEOUT, self._time_out, known, known.ongoing)
            known.ongoing.partitions.add(at)
        if known.ongoing is None or at not in known.ongoing.partitions:
            raise errors.InvalidTxnState
        log = self.logs[at]
        for record in records:
            log.append(record, known.ongoing)

    def write(self, at: TopicPartition, records: Sequence[Written]) -> None:
        """Append records of a producer that has no transactional id."""
        self.logs[at].entries += [(record, Transaction(committed=True)) for record in records]

    def end_txn(self, name: str, epoch: int) -> None:
        """Commit what is open; to commit again what was just committed does nothing."""
        known = self._admit(name, epoch)
        if known.ending is not None:
            raise errors.ConcurrentTransactions
        if known.ongoing is not None:
            self._finish(known, commit=True)
        elif not known.ended:
            raise errors.InvalidTxnState

    def is_fenced(self, name: str, epoch: int) -> bool:
        """Whether another producer of this id was opened later."""
        return epoch != self._ids[name].epoch

    @property
    def are_quiet(self) -> bool:
        """Whether every transaction is ended, its markers written."""
        return all(one.ongoing is None and one.ending is None for one in self._ids.values())

    def leave_open(self, name: str, at: TopicPartition) -> None:
        """Let a stranger write something and hang, until its transaction times out."""
        known = self._ids[name]
        if known.ongoing is None and known.ending is None:
            known.epoch += 1
            self.produce(name, known.epoch, at, [Written(at, b"stranger", b"", (), 0)], add=True)

    def _admit(self, name: str, epoch: int) -> Coordinator:
        if self.is_fenced(name, epoch):
            raise errors.ProducerFenced
        return self._ids[name]

    def _finish(self, known: Coordinator, *, commit: bool) -> None:
        """Decide; readers see it when the markers are written, a little later."""
        transaction = known.ending = known.ongoing
        known.ongoing = None

        def mark() -> None:
            if transaction is None:
                return
            transaction.committed = commit
            for at in sorted(transaction.partitions):
                self.logs[at].end(transaction)
            known.ending, known.ended = None, commit

        self._loop.call_later(self._rng.choice((0.001, 0.001, 0.05, 0.4)), mark)

    def _time_out(self, known: Coordinator, transaction: Transaction) -> None:
        """Abort a transaction that nobody ended, and fence who left it so."""
        if known.ongoing is transaction:
            known.epoch += 1
            self._finish(known, commit=False)
