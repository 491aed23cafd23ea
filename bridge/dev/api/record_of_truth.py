"""What the simulator did and showed, so that a test can compare."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from bridge.clock import Micros
from bridge.dev.api.answers import Ending, Row, SimulatedReply, instant
from bridge.dev.api.feed import SimulatedEvent
from bridge.dev.api.world import World

PARTS = ("summary", "events", "effects", "requests")


class RecordOfTruth:
    """Executed writes and answered requests; events are read from the world's history."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._effects: list[Row] = []
        self._requests: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def effect(self, operation: str, at: Micros, **facts: Any) -> None:
        """Note a write that was carried out; facts that are None are left out."""
        known = {name: value for name, value in facts.items() if value is not None}
        entry = {"number": len(self._effects), "operation": operation, "at": instant(at), **known}
        self._effects.append(entry)

    def request(self, operation: str, reply: SimulatedReply) -> None:
        """Count a request by its status, or by what became of its answer if nothing was sent."""
        sent = reply.ending is Ending.SENT
        self._requests[operation][str(reply.status) if sent else reply.ending.value] += 1

    def shown(self, events: Sequence[SimulatedEvent], at: Micros) -> None:
        """Note that a list showed these events."""
        for event in events:
            if event.shown_at is None:
                event.shown_at = at

    def read(self, parts: Sequence[str] = PARTS) -> Row:
        """The ledger as JSON; ValueError if a part is none of PARTS."""
        if unknown := sorted(set(parts) - set(PARTS)):
            raise ValueError(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
        readers: dict[str, Callable[[], Any]] = {
            "summary": self._summary,
            "events": lambda: [_event(event) for event in self._world.history],
            "effects": lambda: list(self._effects),
            "requests": lambda: {name: dict(seen) for name, seen in self._requests.items()},
        }
        return {part: readers[part]() for part in parts}

    def _summary(self) -> Row:
        history = self._world.history
        return {
            "now": instant(self._world.now),
            "events": len(history),
            "shown": sum(event.shown_at is not None for event in history),
            "deleted": sum(event.deleted_at is not None for event in history),
            "missions": len(self._world.missions),
            "runs": len(self._world.runs),
            "effects": len(self._effects),
            "requests": sum(seen.total() for seen in self._requests.values()),
        }


def _event(event: SimulatedEvent) -> Row:
    return {
        "event_id": event.event_id,
        "run_id": event.run_id,
        "mission_id": event.mission_id,
        "type": event.type,
        "timestamp": event.timestamp,
        "visible_at": instant(event.visible_at),
        "shown_at": None if event.shown_at is None else instant(event.shown_at),
        "deleted_at": None if event.deleted_at is None else instant(event.deleted_at),
    }
