"""Builds what works on a source while it is ours."""

from __future__ import annotations

from collections.abc import Callable

from bridge.clock import Clock
from bridge.config.models import SourceSettings
from bridge.kafka.producer import Writer
from bridge.missions.client import MissionsClient
from bridge.source.audits.auditor import Auditor, Published
from bridge.source.audits.run_table import RunTable
from bridge.source.backlog import Backlog
from bridge.source.checkpoint import lateness
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.poller import Poller
from bridge.source.progress import Progress
from bridge.source.reading.reader import ListReader
from bridge.source.reading.server_clock import ServerClock
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Publisher
from bridge.source.writing.transaction import Committer


def assembled(
    settings: SourceSettings,
    *,
    client: MissionsClient,
    clock: Clock,
    checkpoint: Checkpoint,
    publisher: Publisher,
    writer: Writer,
    on_topic: Published,
    may_go_on: Callable[[], bool],
    timeout: float,
) -> Poller:
    """Return the poller of a source, given its state as it was read back.

    `may_go_on` is asked after each request: is the source still ours, and nobody asks to stop?
    `timeout` is that of a request, in seconds.
    """
    index = MissionIndex(client, clock, settings.name)
    configured = lateness.configured(settings)
    committer = Committer(
        checkpoint,
        publisher=publisher,
        writer=writer,
        index=index,
        clock=clock,
        configured=configured,
    )
    server = ServerClock(settings.lateness_max)

    def reader() -> ListReader:
        return ListReader(
            page_size=settings.page_size,
            timeout=timeout,
            clock=clock,
            server=server,
            may_go_on=may_go_on,
        )

    interval, cap = configured.audit_interval, configured.lateness_max
    table = RunTable(client, committer, reader(), index, interval, cap)
    auditor = Auditor(client, clock, committer, reader(), table, on_topic, may_go_on, interval, cap)
    of_feed = reader()
    progress = Progress(settings, committer, of_feed, auditor)
    backlog = Backlog(client, clock, progress, of_feed, auditor, index, settings.poll_interval)
    return Poller(
        settings, client, clock, committer, of_feed, auditor, progress, backlog, may_go_on
    )
