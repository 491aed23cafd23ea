"""Copies of results for topics that commands name: owed by the ledger, made beside the journal.

    result + reply/... record (one transaction) -> copy (acknowledged by all) -> reply/... forgotten

A topic of somebody else may refuse what it is sent, or never answer. So no transaction of the
bridge holds a record for it; a crash leaves the ledger's record, and the next owner makes the copy,
perhaps once more, with the result's id in a header.
"""

from __future__ import annotations

from asyncio import Event
from collections.abc import Awaitable, Callable, Mapping, Sequence

from bridge import telemetry
from bridge.clock import Clock
from bridge.commands.ledger.replies import Replies
from bridge.errors import BridgeError, KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.producer import Record, Writer

MOST = 1_000
MOST_BYTES = 8 * 2**20
"""Copies of a partition, and their bytes, that may be owed; further results are not copied."""

TOO_MANY = "too many copies wait to be written"

RETRY = 30.0
MOST_TRIES = 20
"""A copy that failed is tried again after so many seconds, so many times in all."""

TIMEOUT = 10.0
"""Seconds that writing copies to one topic may take."""

_AT_ONCE = 100
_REFUSED = 3

Forget = Callable[[Sequence[str]], Awaitable[None]]


class Copies:
    """The copies that one partition owes, by the keys of their records in the ledger.

    `forget` makes durable that some are owed no longer and calls `note` itself; `wake` is called
    when those that can be made now are made.
    """

    def __init__(
        self,
        kafka: KafkaClient,
        replies: Replies,
        clock: Clock,
        *,
        forget: Forget,
        wake: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._replies = replies
        self._clock = clock
        self._forget = forget
        self._tell = wake
        self._owed: dict[str, Record] = {}
        self._bytes = 0
        self._tries: dict[str, int] = {}
        self._later: dict[str, float] = {}
        """By topic that failed: when it is tried again."""
        self._news = Event()
        self._writer: Writer | None = None

    @property
    def full(self) -> bool:
        """Whether no more may be owed."""
        return len(self._owed) >= MOST or self._bytes >= MOST_BYTES

    @property
    def idle(self) -> bool:
        """Whether nothing can be copied now."""
        return all(copy.topic in self._later for copy in self._owed.values())

    def begin(self, owed: Mapping[str, Record]) -> None:
        """Take over what a ledger says that was just read."""
        self._owed, self._bytes = {}, 0
        self.note(owed)

    def note(self, changes: Mapping[str, Record | None]) -> None:
        """Take over what is durable: copies that are owed, and None for those that are no more."""
        for key, copy in changes.items():
            gone = self._owed.pop(key, None)
            self._bytes -= 0 if gone is None else gone.size
            if copy is None:
                self._tries.pop(key, None)
            else:
                self._owed[key] = copy
                self._bytes += copy.size
                self._news.set()

    async def run(self) -> None:
        """Make copies until cancelled; raises what `forget` raises."""
        try:
            while True:
                self._news.clear()
                while (topic := self._next()) is not None:
                    await self._serve(topic)
                self._tell()
                if self._later:
                    again = min(self._later.values()) - self._clock.monotonic()
                    await self._clock.sleep(again, self._news)
                else:
                    await self._news.wait()
        finally:
            await self._close()

    def _next(self) -> str | None:
        """Return the topic to be written now, None if there is none; good ones come first."""
        now = self._clock.monotonic()
        topics = {copy.topic: None for copy in self._owed.values()}
        self._later = {topic: at for topic, at in self._later.items() if topic in topics}
        due = [topic for topic in topics if self._later.get(topic, 0.0) <= now]
        return min(due, key=lambda topic: topic in self._later, default=None)

    async def _serve(self, topic: str) -> None:
        """Copy what is owed to a topic, one by one where several at once are refused."""
        wanted = [key for key, copy in self._owed.items() if copy.topic == topic]
        try:
            there = await self._replies.exists(topic)
            await self._open()
        except BridgeError as error:  # Kafka itself: no topic is to blame
            await self._failed(topic, [], str(error))
            return
        if not there:
            await self._failed(topic, wanted, "there is no such topic any more")
            return
        refusal, blamed = await self._copy(wanted), wanted
        if refusal is not None and len(wanted) > 1 and not isinstance(refusal, KafkaAway):
            refused = await self._copy_singly(wanted)
            blamed = wanted if wanted[:_REFUSED] == refused else refused
        if refusal is not None and blamed:
            await self._failed(topic, blamed, str(refusal))
        else:
            self._later.pop(topic, None)

    async def _copy_singly(self, wanted: Sequence[str]) -> list[str]:
        """Copy records one by one; return those that were refused, and stop at several."""
        refused: list[str] = []
        for key in wanted:
            if await self._copy([key]) is not None:
                refused.append(key)
                if len(refused) == _REFUSED:
                    break
        return refused

    async def _copy(self, keys: Sequence[str]) -> BridgeError | None:
        """Write copies and have them forgotten; return why they could not be written."""
        for first in range(0, len(keys), _AT_ONCE):
            portion = [key for key in keys[first : first + _AT_ONCE] if key in self._owed]
            try:
                writer = await self._open()
                await writer.commit([self._owed[key] for key in portion])
            except BridgeError as error:
                await self._close()
                return error
            await self._forget(portion)
        return None

    async def _open(self) -> Writer:
        if self._writer is None:
            self._writer = await Writer.open(
                self._kafka, None, role="replies", clock=self._clock, timeout=TIMEOUT
            )
        return self._writer

    async def _failed(self, topic: str, keys: Sequence[str], reason: str) -> None:
        """Try again later, or give up what was tried often enough."""
        self._later[topic] = self._clock.monotonic() + RETRY
        telemetry.reply_failed(topic, len(keys), reason)
        for key in keys:
            self._tries[key] = self._tries.get(key, 0) + 1
            if key in self._owed:  # the others first next time
                self._owed[key] = self._owed.pop(key)
        hopeless = [key for key in keys if self._tries[key] >= MOST_TRIES]
        if hopeless:
            self._replies.give_up(topic, len(hopeless), reason)
            await self._forget(hopeless)

    async def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()
