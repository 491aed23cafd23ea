"""Where results are copied to: the topic that a command's `reply_topic` header names.

Only topics that a listing shows are written to, and one whose copies were given up is left alone
for a while. Where a result is not copied its header `bridge_reply_error` says why.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bridge import telemetry
from bridge.clock import Clock
from bridge.commands.model import Received
from bridge.config.models import Settings
from bridge.errors import KafkaAway
from bridge.kafka.client import KafkaClient
from bridge.kafka.partition import murmur2
from bridge.kafka.topics import usable

HEADER = "reply_topic"
ERROR_HEADER = "bridge_reply_error"

COPY_FAILED = "copies to this topic failed lately"

LISTED_FOR = 60.0
"""Seconds for which a listing is trusted."""

ASK_AGAIN = 5.0
"""Seconds before a topic that the last listing lacks is looked for once more."""

DISTRUST = 300.0
"""Seconds for which a topic is left alone after copies for it were given up."""


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """Where the copy of a result goes; `error` says why there is none."""

    topic: str = ""
    partition: int = 0
    error: str | None = None


class Replies:
    """Finds the topics that commands name. One for all partitions of a process."""

    def __init__(self, settings: Settings, kafka: KafkaClient, clock: Clock) -> None:
        self._allowed = settings.topic("replies")
        self._kafka = kafka
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._listed = float("-inf")
        self._away: str | None = None
        self._distrusted: dict[str, float] = {}
        self._lock = asyncio.Lock()

    async def route(self, received: Received) -> ReplyTarget | None:
        """Return where the result of a command is copied to; None if it asks for no copy.

        Takes as long as one listing of topics at most, and never fails.
        """
        wanted = [value for name, value in received.headers if name == HEADER]
        if not wanted:
            return None
        topic = wanted[-1].decode(errors="replace")
        reply = await self._find(topic, received.key)
        if reply.error is not None:
            telemetry.reply_refused(reply.error)
        return reply

    async def exists(self, topic: str) -> bool:
        """Say whether a topic can be written to; raises KafkaAway where no listing can be had."""
        await self._list(topic)
        if self._away is not None:
            raise KafkaAway(self._away)
        return topic in self._counts

    def give_up(self, topic: str, copies: int, reason: str) -> None:
        """Leave a topic alone for a while: so many copies for it were tried and given up."""
        self._distrusted[topic] = self._clock.monotonic() + DISTRUST
        telemetry.replies_given_up(topic, copies, reason)

    async def _find(self, topic: str, key: bytes | None) -> ReplyTarget:
        if topic != self._allowed and not topic.startswith(f"{self._allowed}."):
            return ReplyTarget(error=f"only {self._allowed} and {self._allowed}.* may be named")
        if self._clock.monotonic() < self._distrusted.get(topic, 0.0):
            return ReplyTarget(error=COPY_FAILED)
        await self._list(topic)
        count = self._counts.get(topic)
        if count is None:
            return ReplyTarget(error=self._away or "there is no such topic")
        return ReplyTarget(topic, 0 if key is None else murmur2(key, count))

    async def _list(self, topic: str) -> None:
        """Ask which topics there are, unless that is known well enough."""
        async with self._lock:
            trusted = LISTED_FOR if topic in self._counts else ASK_AGAIN
            if self._clock.monotonic() < self._listed + trusted:
                return
            try:
                self._counts, self._away = await usable(self._kafka, self._allowed), None
            except KafkaAway as error:
                self._counts, self._away = {}, str(error)
            self._listed = self._clock.monotonic()
