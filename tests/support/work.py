"""A bridge at work on a stage of its own, for stories that are told to it one after the other."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bridge.dev.api.faults import Fault, StatusFault
from support import verdict
from support.brokers import Broker
from support.kafka import delete_topics
from support.stage import Bridge, Stage, stage

LATENESS = 6.0
HURRIED = {
    "BRIDGE_API__TIMEOUT": "2",
    "BRIDGE_SOURCE__PAGE_SIZE": "100",
    "BRIDGE_SOURCE__POLL_INTERVAL": "0.1",
    "BRIDGE_SOURCE__LATENESS": f"{LATENESS:g}",
    "BRIDGE_SOURCE__LATENESS_MAX": "15",
}
"""Settings under which what takes minutes takes seconds, and small numbers fill pages."""

NO_AUDITS = StatusFault(kind="status", operation="list_recent_runs", status=404)
"""Standing fault that leaves the bridge with the feed: what that loses no audit brings back."""


@dataclass(frozen=True)
class Work:
    """A bridge that carries events, and its stage."""

    scene: Stage
    bridge: Bridge
    dead: set[str] = field(default_factory=set)
    """Events that cannot be converted."""

    def expect_exact(self) -> None:
        """See that all events but the dead ones are on the topic, once and in order."""
        verdict.expect_exact(self.scene, self.bridge, but=self.dead)


@contextmanager
def at_work(kafka: Broker, folder: Path, *faults: Fault, **settings: str) -> Iterator[Work]:
    """Let a bridge publish some past events; end it, and find it well, at the end.

    `faults` of the API are there from the beginning, and stay.
    """
    prefix = f"work-{uuid.uuid4().hex[:10]}"
    with stage(kafka, prefix, folder, events=50, faults=faults) as scene:
        bridge = scene.run("--only", "events", **HURRIED, **settings).ready()
        verdict.expect_exact(scene, bridge)
        yield Work(scene, bridge)
        assert bridge.stop() == 0
    delete_topics(kafka.address, prefix)
