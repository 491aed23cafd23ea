"""The consumer group: who is a member, who has which partition, and when each hears of it.

Members that die or freeze are put out after a session. A member that is put out goes on as if
nothing had happened until its next heartbeat; a rebalance takes until every member has heard of it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final, Protocol

from aiokafka import TopicPartition
from simulation.virtual import Machine, VirtualLoop, passing

SESSION: Final = 10.0
HEARTBEAT: Final = 3.0


class Member(Protocol):
    """A consumer, as the group knows it."""

    machine: Machine
    partitions: frozenset[TopicPartition]
    is_closed: bool

    def revoked(self) -> None:
        """Hear that a rebalance has begun."""

    def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Hear what is given to it."""


class Group:
    """Shares out the partitions of `topic`; `is_away` says whether it can be asked."""

    def __init__(
        self,
        loop: VirtualLoop,
        rng: Random,
        partitions: frozenset[TopicPartition],
        *,
        deaf: float,
        is_away: Callable[[], bool],
        tell: Callable[[str, str], None],
    ) -> None:
        self._loop = loop
        self._rng = rng
        self._partitions = sorted(partitions)
        self._deaf = deaf
        self._is_away = is_away
        self._tell = tell
        self._members: list[Member] = []
        self._gone: set[Member] = set()
        self._given: dict[Member, list[TopicPartition]] = {}
        self._ready: set[Member] = set()
        self._generation = 0
        self._decided = True
        self.takeovers = 0

    def join(self, member: Member) -> None:
        """Take in a member."""
        if member not in self._members:
            self._members.append(member)
            self.rebalance()

    def leave(self, member: Member) -> None:
        """Let a member go."""
        self._gone.add(member)
        if member in self._members:
            self._put_out(member)
            self.rebalance()

    def silent(self, machine: Machine) -> None:
        """Put out the member of a machine that was not heard of for a session."""
        for member in [one for one in self._members if one.machine is machine]:
            self._tell("group", f"puts out {machine.name}")
            self._put_out(member)
            self._loop.create_task(self._return(member))
            self.rebalance()

    def rebalance(self) -> None:
        """Ask all members to join anew; who does not in time is put out."""
        self._generation += 1
        self._decided = False
        self._ready = set()
        for member in self._members:
            self._loop.create_task(self._ask(member, self._generation))
        self._loop.call_later(SESSION, self._decide, self._generation)

    def _put_out(self, member: Member) -> None:
        self._members.remove(member)

    async def _ask(self, member: Member, generation: int) -> None:
        """Tell a member of the rebalance at its next heartbeat."""
        await passing(self._rng.uniform(0.0, min(HEARTBEAT, self._deaf)))
        await self._reach(member)
        if generation != self._generation or member not in self._members or member.is_closed:
            return
        member.revoked()
        self._ready.add(member)
        if len(self._ready) == len(self._members):
            self._decide(generation)

    def _decide(self, generation: int) -> None:
        """Share out among those who joined, so that each keeps what it can."""
        if generation != self._generation or self._decided:
            return
        self._decided = True
        for late in [one for one in self._members if one not in self._ready]:
            self._put_out(late)
            self._loop.create_task(self._return(late))
        shares = self._shares()
        moved = sum(ats != self._given.get(member) for member, ats in shares.items())
        self.takeovers += moved
        self._given = shares
        for member, ats in shares.items():
            numbers = [at.partition for at in ats]
            self._tell("group", f"gives {numbers} to {member.machine.name}")
            self._loop.create_task(self._give(member, frozenset(ats), generation))

    def _shares(self) -> dict[Any, list[TopicPartition]]:
        members = list(self._members)
        if not members:
            return {}
        most = -(-len(self._partitions) // len(members))
        shares = {one: list(self._given.get(one, ()))[:most] for one in members}
        taken = {at for ats in shares.values() for at in ats}
        for at in self._partitions:
            if at not in taken:
                min(shares.values(), key=len).append(at)
        return shares

    async def _give(
        self, member: Member, partitions: frozenset[TopicPartition], generation: int
    ) -> None:
        await passing(self._rng.uniform(0.0, self._deaf))
        await self._reach(member)
        if generation == self._generation:
            member.assigned(partitions)

    async def _return(self, member: Member) -> None:
        """Let a member that was put out find out, and join again."""
        await self._reach(member)
        await passing(self._rng.uniform(0.0, HEARTBEAT))
        await self._reach(member)
        if member not in self._members and member not in self._gone and not member.is_closed:
            member.revoked()
            self.join(member)

    async def _reach(self, member: Member) -> None:
        await member.machine.gate()
        while self._is_away():
            await passing(1.0)
            await member.machine.gate()
