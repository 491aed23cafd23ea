"""One source as its tools see it: both sides, to be read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final

from bridge.clock import Clock, Micros
from bridge.config.models import Settings, SourceSettings
from bridge.errors import RateLimited
from bridge.kafka.consumer import Received, read_partition
from bridge.kafka.producer import Writer
from bridge.missions.client import MissionsClient
from bridge.missions.models import Page
from bridge.source.checkpoint import lateness
from bridge.source.checkpoint.position import Configured
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.identity import short_run
from bridge.source.reading import lists
from bridge.source.reading.reader import ApiList, ListReader
from bridge.source.reading.server_clock import ServerClock
from bridge.source.reading.windows import Found
from bridge.source.takeover import READ_SECONDS, Desk
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Publisher

PATIENCE: Final = 20
"""Times in a row that a page may be refused because of the rate limit."""


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """What looking at one source takes, and writing in its place."""

    settings: Settings
    source: SourceSettings
    desk: Desk
    client: MissionsClient
    index: MissionIndex

    @property
    def clock(self) -> Clock:
        """The clock of everything here."""
        return self.desk.clock

    @property
    def patience(self) -> float:
        """Seconds without progress after which reading from Kafka is given up."""
        return self.desk.transaction_timeout + READ_SECONDS

    def configured(self, checkpoint: Checkpoint | None) -> Configured:
        """Return the settings of the bridge that works on the source; our own if none tells."""
        told = None if checkpoint is None else checkpoint.configured
        return told or lateness.configured(self.source)

    def lateness(self, checkpoint: Checkpoint) -> Micros:
        """Return the lateness window that is in use by a checkpoint."""
        return lateness.window(self.configured(checkpoint), checkpoint.position.worst_late)

    def reader(self) -> ListReader:
        """Return a reader of lists, which knows nothing of them yet."""
        return ListReader(
            page_size=self.source.page_size,
            timeout=self.settings.api.timeout,
            clock=self.clock,
            server=ServerClock(self.source.lateness_max),
            may_go_on=lambda: True,
        )

    @property
    def feed(self) -> ApiList:
        """The list of all events."""
        return _patient(lists.feed(self.client))

    def run_list(self, mission_id: str, run_id: str) -> ApiList:
        """Return a run's own list of events."""
        return _patient(lists.of_run(self.client, mission_id, run_id))

    async def read(
        self, listing: ApiList, low: Micros, found: Callable[[Found], Awaitable[None]]
    ) -> None:
        """Read a list down to `low`; `found` may get an item more than once, and older ones.

        Raises what the API client raises.
        """
        await self.reader().whole(listing, found, low)

    async def mission_of(self, run_id: str) -> str | None:
        """Return the mission of a run; None if neither the API nor the checkpoint knows it."""
        await self.index.learn([run_id])
        if (mission_id := self.index.get(run_id)) is not None:
            return mission_id
        summary = (await self.desk.look()).runs.get(short_run(run_id))
        return None if summary is None else summary.mission_id

    async def records(self, topic: str, numbers: Iterable[int]) -> AsyncGenerator[Received, None]:
        """Yield the records of partitions, one after the other, each to its end; to be closed."""
        for number in numbers:
            log = read_partition(self.desk.kafka, topic, number, until=None, timeout=self.patience)
            async with aclosing(log):
                async for record in log:
                    yield record

    @property
    def publisher(self) -> Publisher:
        """What makes records for the source's topics."""
        origin = f"{self.settings.api.base_url}/ai/missions"
        return Publisher(self.desk.codec, self.desk.layout, origin)

    async def writer(self, transactional_id: str) -> Writer:
        """Open a writer, without transactions where there are none. Raises KafkaAway."""
        return await Writer.open(
            self.desk.kafka,
            transactional_id if self.settings.delivery == "exactly_once" else None,
            role="tool",
            clock=self.clock,
            timeout=READ_SECONDS,
        )


def _patient(listing: ApiList) -> ApiList:
    """Let a list be asked again where the rate limit refuses: the budget waits meanwhile."""

    async def fetch(page: int, size: int) -> Page[Any]:
        for _ in range(PATIENCE):
            try:
                return await listing.fetch(page, size)
            except RateLimited:
                continue
        return await listing.fetch(page, size)

    return replace(listing, fetch=fetch)
