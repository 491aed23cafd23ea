"""The command side as one loop: a group member that owns partitions and hands them their records.

A turn: let go of partitions that ended or are another's, take up those that are newly ours, seek
and resume those whose ledger was read, hold back the crowded, poll, hand out. Each partition runs
in a task of its own (`partition.py`), so that a slow one does not keep the group waiting.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.clock import Clock, utc
from bridge.commands.brakes.brake import Follower
from bridge.commands.decoder import Decoder
from bridge.commands.ledger.journal import Journal
from bridge.commands.limits import Accounts, Shared
from bridge.commands.partition import Partition
from bridge.config.models import Settings
from bridge.errors import Fenced, KafkaAway
from bridge.health import Health
from bridge.kafka.client import REQUEST_TIMEOUT, KafkaClient
from bridge.kafka.consumer import Membership, OutOfLog, log_bounds
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient

POLL = 0.2
"""Seconds that a turn waits for records at most."""

TURN_WITHIN = 90.0
"""Seconds within which the loop takes its next turn, slow calls of Kafka included."""

_RETRY = 1.0


@dataclass(slots=True)
class _Held:
    """A partition in our hands: `stop` is its own, `leave_by` set once it must end."""

    partition: Partition
    task: asyncio.Task[None]
    stop: asyncio.Event
    seated: bool = False
    paused: bool = False
    leave_by: float | None = None


class Commands:
    """Carries out commands until stopped.

    `codec` must be prepared for the values of commands, command-results and command-state; whoever
    makes the `gate` runs it. `accounts` are those that
    commands may name, beside the common key.

    The health part `commands` is ready while the group lets us in, also without partitions of our
    own: then another process has them and this one stands by.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: KafkaClient,
        client: MissionsClient,
        gate: AccessGate,
        codec: Codec,
        clock: Clock,
        health: Health,
        accounts: Accounts,
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._clock = clock
        self._health = health
        self._decoder = Decoder(codec, clock)
        self._shared = Shared.of(settings, kafka, client, gate, self._decoder, clock, accounts)
        self._follower = Follower(settings, kafka, self._decoder, clock, self._shared.brakes)
        self._following: asyncio.Task[None] | None = None
        self._topic = settings.topic("commands")
        self._drain = settings.drain_seconds
        self._held: dict[TopicPartition, _Held] = {}
        self._stand_by: dict[TopicPartition, float] = {}
        self._membership: Membership | None = None
        self._settled = False
        self._kept_until = 0.0
        self._away: str | None = None
        self._registry_away = False
        self._owned = 0
        health.unready("commands", "joining the group")

    async def run(self, stop: asyncio.Event) -> None:
        """Own partitions and carry out their commands until `stop`; then drain.

        The drain ends with the calls in flight and the writing of their outcomes, after the API's
        time-out and 10 s at most. Raises what cannot be mended by going on: StateError, GaveUp,
        ConfigError, and failures of our own.
        """
        failures: list[Exception] = []
        self._following = asyncio.create_task(self._follower.run(stop), name="commands-brake")
        try:
            while not stop.is_set():
                await self.turn(stop)
        finally:
            failures = await self._end()
        if failures:
            raise failures[0]

    async def turn(self, stop: asyncio.Event) -> None:
        """Take one turn; Kafka's absence is noted and waited out."""
        self._health.beat("commands", within=TURN_WITHIN)
        self._reap()
        try:
            membership = await self._joined()
            if membership.changed.is_set():
                # A partition that went and came back within a turn is paused like a new one.
                membership.changed.clear()
                self._unseat()
            self._reconcile(membership)
            await self._follow_breaker()
            self._steer(membership)
            for record in await membership.poll(POLL):
                self._accept(record)
            # Where records were fetched before, none of the above has let anything else run.
            await self._clock.sleep(0)
        except OutOfLog as error:
            self._read_anew(membership, error.partitions)
        except KafkaAway as error:
            self._note_away(str(error))
            self._show()
            await self._leave()
            await self._clock.sleep(_RETRY, stop)
        else:
            self._note_away(None)
            self._show()

    def status(self) -> dict[str, Any]:
        """Return what /status shows; `position` is the low-water mark, -1 before it is known."""
        shared = self._shared
        return {
            "partitions": {
                str(at.partition): held.partition.counts | {"open": held.partition.journal.is_open}
                for at, held in sorted(self._held.items())
            },
            "results": dict(shared.results),
            "brakes": [{**brake.shown, "since": utc(brake.since)} for brake in shared.brakes.all],
            "held": {"brake": shared.held_by["brake"], "fuse": shared.held_by["fuse"]},
            "starts": shared.fuse.shown(self._clock.monotonic()),
        }

    def _reap(self) -> None:
        """Let go of partitions that ended; raise what must end the process."""
        if self._following is not None and self._following.done():
            self._following.result()
        now = self._clock.monotonic()
        for at, held in list(self._held.items()):
            if held.leave_by is not None and now > held.leave_by:
                held.task.cancel()
            if not held.task.done():
                continue
            del self._held[at]
            error = None if held.task.cancelled() else held.task.exception()
            if isinstance(error, Fenced):
                # Not at once: two owners would fence each other for ever. By then the group knows.
                wait = self._settings.kafka.session_timeout * random.uniform(1.0, 2.0)
                self._stand_by[at] = now + wait
            elif error is not None:
                raise error

    def _accept(self, record: ConsumerRecord[bytes, bytes]) -> None:
        held = self._held.get(TopicPartition(record.topic, record.partition))
        # One that was taken up again is still read where it was, until its ledger says where to.
        if held is not None and held.seated:
            held.partition.accept(record)

    async def _joined(self) -> Membership:
        if self._membership is None:
            self._membership = Membership(
                self._kafka,
                group=self._settings.commands_group,
                topics=[self._topic],
                clock=self._clock,
            )
            await self._membership.start()
        return self._membership

    def _note_away(self, reason: str | None) -> None:
        """Remember whether Kafka can be used, and tell."""
        self._away = reason
        if reason is None:
            telemetry.dependency_back("kafka", of="commands")
        else:
            telemetry.dependency_away("kafka", reason, of="commands")

    async def _leave(self) -> None:
        """Give up a membership that does not work; the partitions stay for a while.

        Outcomes of calls in flight must not be lost to an outage: whoever gets the partitions
        meanwhile fences us, and nothing is opened anew before the group gives them to us again.
        """
        membership, self._membership = self._membership, None
        self._settled = False
        self._kept_until = self._clock.monotonic() + 3 * self._settings.kafka.session_timeout
        self._unseat()
        for held in self._held.values():
            held.partition.journal.assign(ours=False)
        if membership is not None:
            await membership.close()

    def _reconcile(self, membership: Membership) -> None:
        """Follow the group: take up what is newly ours, end what is another's."""
        assigned, now = membership.assigned, self._clock.monotonic()
        self._settled = self._settled or bool(assigned)
        keep = not self._settled and now < self._kept_until
        for at, held in self._held.items():
            ours = at in assigned
            held.partition.journal.assign(ours=ours)
            if not (ours or keep):
                self._let_go(held)
        for at in sorted(assigned):
            if at not in self._held and now >= self._stand_by.get(at, 0.0):
                self._stand_by.pop(at, None)
                self._held[at] = self._take_up(at.partition)

    def _let_go(self, held: _Held) -> None:
        """Let a partition finish what is under way, and end."""
        if held.leave_by is None:
            held.leave_by = self._clock.monotonic() + self._drain
            held.partition.stop()

    def _read_anew(self, membership: Membership, partitions: frozenset[TopicPartition]) -> None:
        """Let go of partitions that are no longer where we read: taken up again, they say why."""
        membership.pause(partitions)
        for at in partitions & self._held.keys():
            self._let_go(self._held[at])

    def _take_up(self, number: int) -> _Held:
        stop = asyncio.Event()
        journal = Journal(
            self._settings,
            self._kafka,
            self._decoder,
            self._shared.replies,
            self._clock,
            number,
            stop,
        )
        journal.assign(ours=True)
        patience = self._settings.api.timeout
        partition = Partition(number, journal, self._shared, stop, patience)
        task = asyncio.create_task(partition.run(), name=f"commands-{number}")
        return _Held(partition, task, stop)

    async def _follow_breaker(self) -> None:
        """Let the breaker count nothing while it is set, and then what comes from now on."""
        breaker, brakes = self._shared.breaker, self._shared.brakes
        if brakes.breaker is not None:
            breaker.suspend()
        elif breaker.suspended and brakes.trouble is None:
            held = list(self._held)
            asked = (log_bounds(self._kafka, at, timeout=REQUEST_TIMEOUT) for at in held)
            found = zip(held, await asyncio.gather(*asked), strict=True)
            breaker.begin({at.partition: end for at, (_, end) in found})

    def _unseat(self) -> None:
        for held in self._held.values():
            held.seated = False

    def _steer(self, membership: Membership) -> None:
        """Begin to read where a ledger was read, stop where too much waits, go on where it went."""
        broken = self._shared.brakes.breaker is not None
        for at, held in self._held.items():
            partition = held.partition
            partition.advance()
            if at not in membership.assigned or not partition.begun or held.leave_by is not None:
                continue
            if not held.seated:
                membership.seek(at, partition.read_from)
                held.seated, held.paused = True, True
            if held.paused and partition.roomy and not broken:
                membership.resume([at])
                held.paused = False
            elif not held.paused and (partition.crowded or broken):
                membership.pause([at])
                held.paused = True

    def _show(self) -> None:
        """Tell health and metrics how things stand."""
        reason = next(self._troubles(), None)
        if reason is None:
            self._health.ready("commands")
        else:
            self._health.unready("commands", reason)
        if self._decoder.away is not None:
            self._health.unready("registry", self._decoder.away)
        elif self._registry_away:
            self._health.ready("registry")
            telemetry.dependency_back("registry", of="commands")
        self._registry_away = self._decoder.away is not None
        if not self._shared.api_away:
            telemetry.dependency_back("api", of="commands")
        owned = sum(held.partition.begun for held in self._held.values())
        if owned != self._owned:
            self._owned = owned
            telemetry.ownership("commands", self._topic, owned)

    def _troubles(self) -> Iterator[str]:
        """Yield why commands are not carried out, what explains most first."""
        if self._away is not None:
            yield self._away
        if self._membership is None or not self._membership.joined:
            yield "joining the group"
        elif self._membership.held_back is not None:
            yield self._membership.held_back
        for at, held in self._held.items():
            journal = held.partition.journal
            if journal.trouble is not None:
                yield f"partition {at.partition}: {journal.trouble}"
            if not held.partition.begun:
                yield f"partition {at.partition}: reading the ledger"
        if self._shared.brakes.trouble is not None:
            yield self._shared.brakes.trouble
        if (breaker := self._shared.brakes.breaker) is not None:
            yield f"{breaker.reason}; `mission-bridge commands resume` goes on"
        yield from self._shared.api_away.values()

    async def _end(self) -> list[Exception]:
        """Finish what is under way within the drain budget, leave the group; return what failed."""
        self._health.forget("commands")
        self._health.unready("commands", "ending")
        for held in self._held.values():
            held.partition.stop()
            if held.partition.idle:
                held.task.cancel()
        failures = await self._gather(held.task for held in self._held.values())
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._membership is not None:
            await self._membership.close()
        if self._owned:
            telemetry.ownership("commands", self._topic, 0)
        return failures

    async def _gather(self, tasks: Iterable[asyncio.Task[None]]) -> list[Exception]:
        """Wait for tasks as long as a drain may take, then cancel them; return why any failed."""
        waiting = set(tasks)
        if not waiting:
            return []
        _, late = await asyncio.wait(waiting, timeout=self._drain)
        for task in late:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        return [end for end in ends if isinstance(end, Exception) and not isinstance(end, Fenced)]
