"""The replicas: processes that start, freeze, die and start again."""

from __future__ import annotations

from aiokafka import TopicPartition
from simulation.ending import gave_up
from simulation.virtual import Machine

from command_simulation.group import SESSION
from command_simulation.process import Box, Process
from command_simulation.stage import COMMANDS, Stage


class Replicas:
    """A seat for each replica, and who sits there."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._seats: list[Process | None] = [None] * stage.scenario.chaos.replicas
        self._names = 0
        self.crashes = 0

    @property
    def alive(self) -> list[Process]:
        """The processes that run or are frozen."""
        return [process for process in self._seats if process is not None]

    def start(self) -> None:
        """Start all replicas."""
        for seat in range(len(self._seats)):
            self._start(seat)

    def freeze_one(self) -> None:
        """Stop the machine of one of the processes for a while."""
        if self.alive:
            self._stage.freeze(self._stage.chance.choice(self.alive).machine)

    def calm_down(self) -> None:
        """Wake everybody up; nobody dies any more."""
        for process in self.alive:
            process.machine.thaw()
            assert isinstance(process.machine, Box)
            process.machine.life = process.machine.nap = None

    def has_finished(self) -> bool:
        """Whether every record of the topic is complete, as its owner sees it."""
        ends = {
            number: len(self._stage.cluster.logs[TopicPartition(COMMANDS, number)].entries)
            for number in range(self._stage.scenario.partitions)
        }
        done: dict[int, int] = {}
        for process in self.alive:
            for number, part in process.commands.status()["partitions"].items():
                if part["open"] and not part["waiting"]:
                    done[int(number)] = max(done.get(int(number), -1), part["position"])
        return all(done.get(number, -1) >= end for number, end in ends.items())

    def _start(self, seat: int) -> None:
        stage = self._stage
        self._names += 1
        lives = 0.0 if stage.is_calm else stage.scenario.lives
        life = 1 + int(stage.chance.expovariate(1 / lives)) if lives else None
        naps = 0.0 if stage.is_calm else stage.scenario.naps
        machine = Box(
            f"bridge-{self._names}",
            self._died,
            life=life,
            freezes=stage.freeze,
            every=naps,
            rng=stage.chance,
        )
        stage.tell(machine.name, "starts")
        self._seats[seat] = Process(stage, machine, self._ended)

    def _died(self, machine: Machine) -> None:
        """The process is gone, with all it knew."""
        self._stage.tell(machine.name, "is killed")
        self.crashes += 1
        self._leave(machine)

    def _ended(self, process: Process, error: BaseException | None) -> None:
        if gave_up(self._stage, process.machine, error):
            self._leave(process.machine)

    def _leave(self, machine: Machine) -> None:
        """Free the seat of a process that is gone, and let another start there."""
        stage = self._stage
        seat = next(
            number
            for number, process in enumerate(self._seats)
            if process is not None and process.machine is machine
        )
        self._seats[seat] = None
        stage.loop.call_later(SESSION, stage.group.silent, machine)
        down = stage.chance.uniform(0.5, stage.scenario.chaos.down)
        stage.loop.call_later(down, self._start, seat)
