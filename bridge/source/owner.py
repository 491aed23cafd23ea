"""Who works on a source, and how it is taken over, kept and given up.

The group's lease says who is alive and should work; the producer's epoch says who can write. A
new owner opens its producer first, which fences the one before, then commits a claim and reads
the checkpoint until it sees that claim: an end offset would not do, because a foreign open
transaction can hold it back.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.clock import SECOND, Clock, Micros, until_stopped, utc
from bridge.config.models import Settings, SourceSettings
from bridge.errors import (
    AccessError,
    Again,
    ApiError,
    ApiRejected,
    Damaged,
    Fenced,
    KafkaAway,
    RateLimited,
    RegistryAway,
    StateError,
    TransactionLost,
)
from bridge.health import Health
from bridge.kafka.client import KafkaClient
from bridge.kafka.lease import Lease
from bridge.kafka.producer import Writer
from bridge.kafka.resets import Resets
from bridge.missions.access import AccessGate
from bridge.missions.client import MissionsClient
from bridge.source.audits.published import published
from bridge.source.build import assembled
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.poller import Poller
from bridge.source.reading.windows import BEGINNING
from bridge.source.takeover import Desk, organization
from bridge.source.writing.publish import Layout, Publisher

STEP_TIMEOUT: Final = 45.0
"""Seconds for one step with Kafka; less than the transaction time-out of 60."""

LONGEST_WAIT: Final = 30.0
"""Seconds between two tries at most while the API is away."""

HELD_SECONDS: Final = 10.0
"""Seconds between two looks at a checkpoint that does not fit together."""

LONGEST_WAIT_FOR_KAFKA: Final = 5.0
"""... while Kafka is: to try costs nobody anything, and the lease waits as well."""

ACCOUNT_TRIES: Final = 5
"""Failures in a row after which a source goes to work without knowing whose key it has."""

DRAIN_SECONDS: Final = 10.0
"""Seconds for a transaction to end, and for the answer to a request, once asked to stop."""


class Source:
    """One account's feed: stands by until the lease is ours, then works until it is not."""

    def __init__(
        self,
        settings: Settings,
        source: SourceSettings,
        *,
        kafka: KafkaClient,
        client: MissionsClient,
        gate: AccessGate,
        codec: Codec,
        lease: Lease,
        layout: Layout,
        clock: Clock,
        health: Health,
    ) -> None:
        self._settings = settings
        self._source = source
        self._kafka = kafka
        self._client = client
        self._gate = gate
        self._codec = codec
        self._lease = lease
        self._layout = layout
        self._clock = clock
        self._health = health
        self._part = f"source {source.name}"
        self._resets = Resets(self._part)
        self._failures = 0
        self._poller: Poller | None = None
        self._owning = False
        self._account: str | None = None
        self._held: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work whenever the lease is ours, until `stop`.

        A step that is under way by then gets DRAIN_SECONDS: what it does not commit is read again.
        Raises StateError and ConfigError when stored state does not fit what is configured, GaveUp
        after too many lost transactions. State that was damaged is waited for.
        """
        telemetry.ownership("source", self._source.name, 0)
        self._health.unready(self._part, "starting")
        await until_stopped(self._work(stop), stop, DRAIN_SECONDS)
        self._health.forget(self._part)

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._beat(self._source.poll_interval)
            if not self._leased():
                self._show_standing_by()
                await self._clock.sleep(0.1, stop)
                continue
            try:
                await self._own(stop)
            except Fenced:
                await self._stand_by(stop)
            except Damaged as error:
                await self._hold_back(error, stop)
            except TransactionLost as error:
                self._resets.count(error, self._clock.monotonic())
            except Again as error:
                await self._wait(error, stop)

    def status(self) -> dict[str, Any]:
        """Return what /status shows of this source; a hole from null on began with the feed."""
        poller = self._poller
        if poller is None:
            shown = {"name": self._source.name, "state": self._state("taking over")}
            return shown if self._held is None else {**shown, "held_back": self._held}
        position = poller.checkpoint.position
        complete = position.complete_until(poller.lateness)
        hole = position.hole
        return {
            "name": self._source.name,
            "state": self._state("climbing" if position.climb else "tailing"),
            "published": poller.checkpoint.published,
            "late": poller.checkpoint.late,
            "frontier": _shown(position.frontier),
            "climb_low": _shown(position.climb.low if position.climb else None),
            "fresh_until": _shown(poller.fresh_until),
            "remembered": len(poller.checkpoint.seen),
            "complete_until": _shown(complete),
            "lateness_seconds": poller.lateness / SECOND,
            "hole": None if hole is None else [_shown(hole.low or None), _shown(hole.high)],
            "runs_open": len(poller.checkpoint.runs),
        }

    def _state(self, working: str) -> str:
        if self._held is not None:
            return "held back"
        if not self._owning:
            return "standing by"
        return working if self._gate.is_open else "waiting for an API key that is let in"

    def _show_standing_by(self) -> None:
        if self._lease.joined:
            self._health.ready(self._part)
        else:
            reason = self._lease.trouble or "joining the group that shares the sources"
            self._health.unready(self._part, reason)

    def _may_go_on(self, stop: asyncio.Event) -> bool:
        """Take note that a step succeeded; a long climb is neither stuck nor unready."""
        self._beat(STEP_TIMEOUT + self._settings.api.timeout)
        self._works("api")
        return self._leased() and self._codec.trouble is None and not stop.is_set()

    def _works(self, *dependencies: str) -> None:
        """Take note that a step succeeded that needs these."""
        self._health.ready(self._part)
        for name in dependencies:
            telemetry.dependency_back(name, of=self._part)

    def _leased(self) -> bool:
        return self._layout.checkpoint_partition in self._lease.owned

    async def _own(self, stop: asyncio.Event) -> None:
        """Take the source over and work on it until asked to stop or the lease is gone."""
        self._owning = True
        try:
            await self._take_over(stop)
        finally:
            self._owning = False

    async def _take_over(self, stop: asyncio.Event) -> None:
        name = self._source.name
        self._codec.check()
        self._beat(2 * STEP_TIMEOUT)
        self._account = await self._organization(stop)
        transactional_id = (
            self._settings.transactional_id_source(name)
            if self._settings.delivery == "exactly_once"
            else None
        )
        writer = await Writer.open(
            self._kafka, transactional_id, role="source", clock=self._clock, timeout=STEP_TIMEOUT
        )
        try:
            origin = f"{self._settings.api.base_url}/ai/missions"
            publisher = Publisher(self._codec, self._layout, origin)
            checkpoint = await self._desk().take_over(writer, publisher, self._account)
            telemetry.ownership("source", name, 1)
            self._poller = self._assemble(checkpoint, publisher, writer, stop)
            self._works("kafka", "registry")
            while self._leased() and not stop.is_set():
                await self._step(self._poller, stop)
        finally:
            if self._poller is not None:
                telemetry.ownership("source", name, 0)
            self._poller = None
            await writer.close()

    def _desk(self) -> Desk:
        return Desk(
            self._source.name,
            self._settings.api.base_url,
            self._kafka,
            self._codec,
            self._layout,
            self._clock,
            self._settings.kafka.transaction_timeout,
            lambda: self._beat(STEP_TIMEOUT),
        )

    async def _organization(self, stop: asyncio.Event) -> str | None:
        """Return the organization that the key belongs to, where the API shows it.

        A list of runs that is refused or goes on failing does not show it, and holds nothing back.
        """
        while await self._gate.wait_open(stop):
            try:
                return await organization(self._client)
            except AccessError as error:
                if await self._gate.lets_in(error):
                    break  # the key works, and may not see the runs
            except ApiRejected:
                break
            except RateLimited:
                raise
            except ApiError as error:
                if self._failures < ACCOUNT_TRIES:
                    raise
                telemetry.dependency_away("api", str(error), of=f"the account of {self._part}")
                break
        return None

    def _assemble(
        self, checkpoint: Checkpoint, publisher: Publisher, writer: Writer, stop: asyncio.Event
    ) -> Poller:
        def may_go_on() -> bool:
            return self._may_go_on(stop)

        async def on_topic(run_id: str, since: Micros) -> set[bytes] | None:
            self._beat(STEP_TIMEOUT)
            return await published(self._kafka, self._layout, run_id, since, timeout=STEP_TIMEOUT)

        return assembled(
            self._source,
            client=self._client,
            clock=self._clock,
            checkpoint=checkpoint,
            publisher=publisher,
            writer=writer,
            on_topic=on_topic,
            may_go_on=may_go_on,
            timeout=self._settings.api.timeout,
        )

    async def _step(self, poller: Poller, stop: asyncio.Event) -> None:
        """Take one turn, and wait as its outcome says."""
        if not self._gate.is_open:
            self._health.forget(self._part)  # waiting for a key is not hanging
        if not await self._gate.wait_open(stop):
            return
        self._beat(STEP_TIMEOUT + self._settings.api.timeout)
        try:
            self._codec.check()
            more = await poller.turn()
        except AccessError as error:
            if await self._gate.lets_in(error):
                await self._wait(error, stop)
        except (KafkaAway, TransactionLost):
            raise
        except (Again, ApiRejected) as error:
            await self._wait(error, stop)
        else:
            self._failures = 0
            self._works("api")
            if not more:
                await self._clock.sleep(max(0.0, poller.due - self._clock.monotonic()), stop)

    async def _stand_by(self, stop: asyncio.Event) -> None:
        """After being fenced: wait until the group has decided anew, then for a random moment.

        Two owners that took the source back at once would fence each other for ever.
        """
        limit = self._clock.monotonic() + self._settings.kafka.session_timeout * 1.5
        while self._leased() and self._clock.monotonic() < limit and not stop.is_set():
            self._beat(1)
            await self._clock.sleep(0.1, stop)
        await self._clock.sleep(random.uniform(0, 2), stop)

    async def _hold_back(self, error: Damaged, stop: asyncio.Event) -> None:
        """Wait until the checkpoint fits together again, or the lease is gone; others go on.

        Nothing is written meanwhile: a writer would fence the repair.
        """
        damaged: Damaged | None = error
        try:
            while damaged is not None and self._leased() and not stop.is_set():
                self._held = str(damaged)
                self._health.unready(self._part, f"held back: {self._held}")
                telemetry.source_held_back(self._source.name, self._held)
                self._beat(HELD_SECONDS + STEP_TIMEOUT)
                await self._clock.sleep(HELD_SECONDS, stop)
                damaged = await self._damage(damaged)
        finally:
            self._held = None
            telemetry.source_held_back(self._source.name, None)

    async def _damage(self, before: Damaged) -> Damaged | None:
        """Return what does not fit now; as before while that cannot be read."""
        try:
            await self._desk().look(self._account)
        except Damaged as error:
            return error
        except Again:
            return before
        except StateError:
            pass  # whoever takes it over is told
        return None

    async def _wait(self, error: Exception, stop: asyncio.Event) -> None:
        """Wait after a failure, longer each time, and say why the source is not ready."""
        away, longest = "api", LONGEST_WAIT
        if isinstance(error, KafkaAway):
            away, longest = "kafka", LONGEST_WAIT_FOR_KAFKA
        elif isinstance(error, RegistryAway):
            away = "registry"
        self._health.unready(self._part, str(error))
        telemetry.dependency_away(away, str(error), of=self._part)
        longest = min(longest, 0.5 * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        wait = error.wait if isinstance(error, RateLimited) and error.wait else longest
        self._beat(wait + 1)
        await self._clock.sleep(wait * random.uniform(0.75, 1), stop)

    def _beat(self, seconds: float) -> None:
        self._health.beat(self._part, seconds + 60)


def _shown(at: Micros | None) -> str | None:
    return None if at is None or at == BEGINNING else utc(at)
