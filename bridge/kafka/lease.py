"""Who works on what: a group's membership over a topic, without reading it.

The group decides liveness only. Whoever still believes to own a partition after losing it cannot
write: the next owner's producer has fenced it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka.coordinator.protocol import ConsumerProtocol

from bridge import telemetry
from bridge.clock import Clock
from bridge.errors import KafkaAway
from bridge.kafka.client import REQUEST_TIMEOUT, KafkaClient, bounded, end_admin
from bridge.kafka.consumer import Membership

_TURN = 0.25
_RETRY = 1.0


class Lease:
    """The partitions of `topic` that this process works on, as `group` shares them out.

    Its owner waits for `changed`, clears it and looks at `owned`. `joined` is False while the group
    has not decided yet, or cannot be reached: `trouble` says why.
    """

    def __init__(self, kafka: KafkaClient, *, group: str, topic: str, clock: Clock) -> None:
        self._kafka = kafka
        self._group = group
        self._topic = topic
        self._clock = clock
        self.owned: frozenset[int] = frozenset()
        self.joined = False
        self.trouble: str | None = None
        self.changed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Hold a membership until `stop`, then leave the group so that another can take over.

        While no broker answers nothing is owned, and joining is tried again.
        """
        while not stop.is_set():
            try:
                await self._hold(stop)
            except KafkaAway as error:
                self.trouble = str(error)
                telemetry.dependency_away("kafka", self.trouble, of=self._group)
                await self._clock.sleep(_RETRY, stop)

    async def _hold(self, stop: asyncio.Event) -> None:
        membership = Membership(
            self._kafka, group=self._group, topics=[self._topic], clock=self._clock
        )
        try:
            await membership.start()
            while not stop.is_set():
                # No partition is ever resumed. The call that is always pending is what keeps
                # aiokafka from leaving the group as idle, and what raises the group's errors.
                await membership.poll(_TURN)
                self._show(at.partition for at in membership.assigned)
                if membership.joined and not self.joined:
                    self.joined, self.trouble = True, None
                    telemetry.dependency_back("kafka", of=self._group)
        finally:
            self.joined = False
            self._show(())
            await membership.close()

    def _show(self, partitions: Iterable[int]) -> None:
        owned = frozenset(partitions)
        if owned != self.owned:
            self.owned = owned
            self.changed.set()


async def holder(kafka: KafkaClient, *, group: str, topic: str, partition: int) -> str | None:
    """Return which member of a group has a partition, and its host; None: nobody has it.

    While the group shares out anew any member may get it. Raises KafkaAway.
    """
    admin = kafka.admin()
    try:
        async with bounded(f"looking at group {group}", REQUEST_TIMEOUT):
            await admin.start()
            (answer,) = await admin.describe_consumer_groups([group])
    finally:
        await end_admin(admin)
    _error, _group, state, _type, _protocol, members, *_ = answer.groups[0]  # type: ignore[attr-defined]
    for member_id, _client, host, _metadata, assigned, *_ in members:
        if state == "Stable" and assigned:
            seats = dict(ConsumerProtocol.ASSIGNMENT.decode(assigned).assignment)
            if partition not in seats.get(topic, ()):
                continue
        return f"{member_id} on {host}"
    return None
