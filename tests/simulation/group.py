"""The replicas: processes that start, die and start again, and the group that shares the source.

The group decides who should work; it hears of a death after a session, and its members hear of its
decisions at different times, so that two may think at once that they own the source.
"""

from __future__ import annotations

import asyncio
from typing import Final

from simulation.ending import gave_up
from simulation.process import Process
from simulation.stage import Stage
from simulation.virtual import Machine

SESSION: Final = 10.0

RESTS: Final = 4
"""Turns after which the owner of a calm source has nothing more to do, at least."""

DEEP_SWEEPS: Final = 3
"""The first may have begun before all was calm, the second ended then."""


class Group:
    """A seat for each replica; the source belongs to one of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seats: list[Process | None] = [None] * stage.scenario.chaos.replicas
        self._owner = 0
        self._names = 0
        self._abandoned: list[asyncio.Task[None]] = []
        self.crashes = 0
        self.takeovers = 0
        self.rests = 0
        """Turns of an owner after which it had nothing more to do."""
        self.deep_sweeps: set[float] = set()
        """When the next deep pass is due, told whenever none is under way: another time each."""

    @property
    def owner(self) -> Process | None:
        """The process that should work, if it lives."""
        return self._seats[self._owner]

    @property
    def has_settled(self) -> bool:
        """Whether a calm source has read all there is, as far as sweeps go."""
        return self.rests >= RESTS and len(self.deep_sweeps) >= DEEP_SWEEPS

    @property
    def has_caught_up(self) -> bool:
        """Whether an owner is at work that has no backlog any more."""
        status = self.owner.source.status() if self.owner is not None else {}
        return status.get("state") == "tailing" and status.get("frontier") is not None

    def start(self) -> None:
        """Start all replicas."""
        for seat in range(len(self._seats)):
            self._start(seat)

    def freeze_owner(self, seconds: float) -> None:
        """Stop the owner's machine for a while; the group may give the source to another."""
        process, seat = self.owner, self._owner
        if process is None or process.machine.is_frozen:
            return
        self._stage.tell(process.machine.name, f"freezes for {seconds:g} s")
        process.machine.freeze()
        if seconds > SESSION:
            self._stage.loop.call_later(SESSION, self._hand_over, seat)
        self._stage.loop.call_later(seconds, process.machine.thaw)

    def rebalance(self) -> None:
        """Give the source to another replica, though its owner is well."""
        self._hand_over(self._owner)

    def calm_down(self) -> None:
        """Wake everybody up, and let everybody know who owns the source."""
        self.rests = 0
        self.deep_sweeps = set()
        for seat, process in enumerate(self._seats):
            if process is not None:
                process.machine.thaw()
                process.clock.pace = self._stage.scenario.lateness
                self._inform(seat)

    async def clear(self) -> None:
        """End what is left, so that nothing of one story runs in the next."""
        for process in self._seats:
            if process is not None:
                process.machine.dead = True
                process.machine.thaw()
                self._abandoned += process.abandon()
        await asyncio.wait(self._abandoned)

    def _start(self, seat: int) -> None:
        self._names += 1
        machine = Machine(f"bridge-{self._names}", self._died)
        self._stage.tell(machine.name, "starts")
        self._seats[seat] = process = Process(self._stage, machine, self._ended, self._napped)
        process.seat.give(owned=seat == self._owner)
        if self._stage.is_calm:
            process.clock.pace = self._stage.scenario.lateness

    def _died(self, machine: Machine) -> None:
        """The process is gone, with all it knew."""
        self._stage.tell(machine.name, "is killed")
        self.crashes += 1
        self._leave(machine)

    def _ended(self, machine: Machine, error: BaseException | None) -> None:
        if gave_up(self._stage, machine, error):
            self._leave(machine)

    def _leave(self, machine: Machine) -> None:
        """Free the seat of a process that is gone, and let another start there."""
        stage, seat = self._stage, self._seat_of(machine)
        process = self._seats[seat]
        assert process is not None
        self._abandoned += process.abandon()
        self._seats[seat] = None
        down = stage.chance.uniform(0.5, stage.scenario.chaos.down)
        stage.loop.call_later(down, self._start, seat)
        stage.loop.call_later(SESSION, self._hand_over, seat)

    def _hand_over(self, giving: int) -> None:
        """Give the source to the next seat, if `giving` still has it."""
        if giving != self._owner or len(self._seats) == 1:
            return
        self._owner = (giving + 1) % len(self._seats)
        self.takeovers += 1
        self._stage.tell("group", f"gives the source to seat {self._owner}")
        for seat in range(len(self._seats)):
            delay = self._stage.chance.uniform(0.0, self._stage.scenario.chaos.deaf)
            self._stage.loop.call_later(delay, self._inform, seat)

    def _inform(self, seat: int) -> None:
        """Let a process know what the group decided; a frozen one hears it when it wakes."""
        process = self._seats[seat]
        if process is None:
            return
        if process.machine.is_frozen:
            self._stage.loop.call_later(1.0, self._inform, seat)
        else:
            process.seat.give(owned=seat == self._owner)

    def _napped(self, machine: Machine, seconds: float) -> None:
        """Count the rests of the owner."""
        process = self.owner
        if process is None or process.machine is not machine:
            return
        poller = process.source._poller
        if seconds <= self._stage.scenario.poll and poller is not None:
            self.rests += poller.checkpoint.position.climb is None
            if poller._deep is None:
                self.deep_sweeps.add(poller._deep_at)

    def _seat_of(self, machine: Machine) -> int:
        return next(
            seat
            for seat, process in enumerate(self._seats)
            if process is not None and process.machine is machine
        )
