"""Taking a source's checkpoint over: claim it, read it until the claim is seen, check whose it is.

An end offset would not do: a foreign open transaction can hold back what readers see. Whoever sees
its own claim has seen everything that was committed before it.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from bridge import telemetry
from bridge.avro.codec import Codec
from bridge.clock import Clock
from bridge.errors import Damaged, InvalidRecord, StateError
from bridge.kafka.client import KafkaClient
from bridge.kafka.consumer import Received, read_partition
from bridge.kafka.producer import Writer
from bridge.missions.client import MissionsClient
from bridge.missions.models import Run
from bridge.source.checkpoint import records as state
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.identity import digest
from bridge.source.writing.publish import Layout, Publisher

Live = dict[str, dict[str, Any]]
"""The newest value of each key of a checkpoint partition, tombstones gone."""

READ_SECONDS: Final = 45.0
"""Seconds without any progress after which reading is given up."""


DECODED_AT_ONCE: Final = 1000
"""So many records are decoded before others get a turn."""


def feed_of(base_url: str, source: str) -> str:
    """Return the identity of a feed under a source's name: a checkpoint must be of it."""
    return digest(base_url, source).hex()


async def organization(client: MissionsClient) -> str | None:
    """Return the organization that the key belongs to, as its runs show it; None: they do not.

    Raises what the API client raises.
    """
    page = await client.list_recent_runs(page=1, size=1)
    extras = (run.model_extra or {} for run in page.items if isinstance(run, Run))
    found = (extra.get("organization_id") for extra in extras)
    return next((one for one in found if isinstance(one, str) and one), None)


@dataclass(frozen=True, slots=True)
class Desk:
    """What reading and writing a source's checkpoint takes; `beat` is called between steps."""

    source: str
    base_url: str
    kafka: KafkaClient
    codec: Codec
    layout: Layout
    clock: Clock
    transaction_timeout: float
    beat: Callable[[], None] = lambda: None

    @property
    def feed(self) -> str:
        """Identity of the feed."""
        return feed_of(self.base_url, self.source)

    async def take_over(
        self, writer: Writer, publisher: Publisher, account: str | None
    ) -> Checkpoint:
        """Commit a claim through `writer` and return the state that was committed before it.

        Raises Damaged where the checkpoint does not fit together, StateError where it is of another
        feed or account, or another source reads the same account; KafkaAway, RegistryAway, Fenced.
        """
        claim = await self.claim(writer, publisher)
        live = await self.read(until=lambda record: record.key == claim)
        checkpoint = state.read_back(self.source, self.feed, self._own(live), account)
        frontiers = await self._frontiers(live)
        self._check_partitions(checkpoint, frontiers)
        self._check_account(checkpoint, account, frontiers)
        mine = [key for key in live if key.startswith(f"claim/{self.source}/")]
        await writer.commit([publisher.state(key, None) for key in mine])
        return checkpoint

    async def claim(self, writer: Writer, publisher: Publisher) -> bytes:
        """Commit a claim and return its key: who sees it has seen all that came before it."""
        claim = f"claim/{self.source}/{uuid.uuid4()}"
        owner = f"{platform.node()}/{os.getpid()}"
        value = self.codec.encode(
            f"{self.layout.checkpoint}-value", state.claim_record(owner, self.clock.now())
        )
        await writer.commit([publisher.state(claim, value)])
        return claim.encode()

    async def look(self, account: str | None = None) -> Checkpoint:
        """Return the state as readers see it now, without taking it over. Raises like the above."""
        live = await self.read()
        checkpoint = state.read_back(self.source, self.feed, self._own(live), account)
        self._check_partitions(checkpoint, await self._frontiers(live))
        return checkpoint

    async def read(
        self, partition: int | None = None, until: Callable[[Received], bool] | None = None
    ) -> Live:
        """Read a partition of the checkpoint topic, the source's own unless one is named."""
        live: Live = {}
        # Only the newest values: one that a repair has replaced need not even be decodable.
        for number, (key, value) in enumerate((await self.stored(partition, until)).items()):
            try:
                live[key] = await self._decode(value, key)
            except Damaged as error:
                if state.concerns(self.source, key):
                    raise
                telemetry.foreign_record(key, str(error))
            if number % DECODED_AT_ONCE == 0:
                self.beat()
                await self.clock.sleep(0)
        return live

    async def stored(
        self, partition: int | None = None, until: Callable[[Received], bool] | None = None
    ) -> dict[str, bytes]:
        """Return the newest values of such a partition by key, as they are."""
        live: dict[str, bytes] = {}
        topic = self.layout.checkpoint
        records = read_partition(
            self.kafka,
            topic,
            self.layout.checkpoint_partition if partition is None else partition,
            until=until,
            # A foreign transaction may hold the claim back for as long as brokers let it stay open.
            timeout=self.transaction_timeout + READ_SECONDS,
        )
        async with aclosing(records):
            async for record in records:
                self.beat()
                try:
                    key = (record.key or b"").decode()
                except UnicodeDecodeError:
                    continue  # no bridge wrote it, and under no key of ours
                if record.value is None:
                    live.pop(key, None)
                elif state.concerns(self.source, key) or key.startswith("frontier/"):
                    live[key] = record.value
        return live

    def _own(self, live: Live) -> Live:
        return {key: value for key, value in live.items() if self.owns(key)}

    def owns(self, key: str) -> bool:
        """Whether a key of the checkpoint topic is the source's."""
        return state.concerns(self.source, key)

    async def _decode(self, value: bytes, key: str) -> dict[str, Any]:
        if key.startswith("claim/"):
            return {}  # it is there, whatever it holds
        try:
            return await self.codec.decode(f"{self.layout.checkpoint}-value", value)
        except InvalidRecord as error:
            what = f"the record {key} cannot be decoded ({error})"
            raise Damaged(state.misfit(self.source, what)) from error

    async def _frontiers(self, live: Live) -> dict[str, list[dict[str, Any]]]:
        """Return the frontiers on all partitions by source; `live` is what its own one holds."""
        others = set(range(self.layout.checkpoint_partitions)) - {self.layout.checkpoint_partition}
        parts = [live, *[await self.read(number) for number in sorted(others)]]
        found: dict[str, list[dict[str, Any]]] = {}
        for part in parts:
            for key, value in part.items():
                if not key.startswith("frontier/"):
                    continue
                kind, body = value["body"]
                if kind.endswith(".Frontier"):
                    found.setdefault(key.partition("/")[2], []).append(body)
        return found

    def _check_partitions(
        self, checkpoint: Checkpoint, frontiers: dict[str, list[dict[str, Any]]]
    ) -> None:
        """Refuse counts of partitions other than those that the checkpoint was written with."""
        layout = self.layout
        if checkpoint.is_new and self.source in frontiers:
            raise StateError(
                f"the checkpoint of source {self.source} is on another partition of "
                f"{layout.checkpoint} than {layout.checkpoint_partition}: partitions were added to "
                "that topic. `mission-bridge repair` writes it where it belongs now"
            )
        now = layout.event_partitions, layout.checkpoint_partitions
        topics = layout.events, layout.checkpoint
        for topic, before, count in zip(topics, checkpoint.partitions or now, now, strict=True):
            if before != count:
                raise StateError(
                    f"topic {topic} had {before} partitions when the checkpoint of source "
                    f"{self.source} was written, and has {count}: events of one run would be on "
                    "two of them, out of order. Go back to the old count, or take the new one over "
                    "with `mission-bridge repair`"
                )
        checkpoint.partitions = now

    def _check_account(
        self,
        checkpoint: Checkpoint,
        account: str | None,
        frontiers: dict[str, list[dict[str, Any]]],
    ) -> None:
        """Refuse another account's checkpoint, and a second source for one account."""
        if account is None:
            return
        if checkpoint.account not in (None, account):
            raise StateError(
                f"the checkpoint of source {self.source} belongs to organization "
                f"{checkpoint.account}, and the API key to {account}: use the key of that "
                "organization, or another BRIDGE_SOURCE__NAME for this one"
            )
        checkpoint.account = account
        for other, bodies in frontiers.items():
            same = any(body["account"] == account for body in bodies)
            if same and other != self.source:
                raise StateError(
                    f"source {self.source} would read organization {account}, which source {other} "
                    "reads already: every event would be published twice. Remove one of them; "
                    f"`mission-bridge offsets reset` frees the name {other}"
                )
