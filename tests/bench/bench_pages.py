"""What each step from a page of 1,000 events to its records costs, beside a reference.

Run by hand: python tests/bench/bench_pages.py. The figures are the best of several rounds, in
microseconds an event. `make backfill` shows what is left out here: HTTP, Kafka and compression.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable

from fastavro import schemaless_writer

from bridge.avro.encoder import encoder_of
from bridge.avro.headers import cloud_event
from bridge.avro.schema import load_schemas
from bridge.clock import Clock
from bridge.missions import jsontext, slices
from bridge.missions.events import EventReader, event_of
from bridge.missions.timestamps import micros
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.state import Checkpoint, Fresh
from bridge.source.identity import digest
from bridge.source.reading import page_items
from bridge.source.reading.content import checksum
from bridge.source.reading.windows import Ask
from bridge.source.writing import convert

EVENTS = 1_000
ROUNDS = 15


def main() -> None:
    rows = [_row(number) for number in range(EVENTS)]
    meta = {"page_number": 1, "page_size": EVENTS, "total_pages": 1, "total_results": EVENTS}
    body = json.dumps({"data": rows, "meta": meta}, separators=(",", ":")).encode()
    reader = EventReader()
    read = reader.read(body)
    assert read is not None
    texts = slices.elements(slices.members(body)["data"])
    events = [event_of(text) for text in texts]
    assert events == read[0]

    _measured("page, fast way", lambda: reader.read(body))
    _measured("  one by one", lambda: reader.exact(slices.elements(slices.members(body)["data"])))
    _measured("  exact way", lambda: [event_of(text) for text in texts])
    _measured("  as objects, for comparison", lambda: jsontext.loads(body))
    _measured("items", lambda: page_items.items(read[0], Ask(1, EVENTS), 0))
    _measured("  of which checksum", lambda: [checksum(one) for one in read[0]])
    _measured("  of which digest", lambda: [digest(one.run_id, one.event_id) for one in read[0]])
    _measured("  of which time", lambda: [micros(one.timestamp) for one in read[0]])
    _published(reader, body)


def _published(reader: EventReader, body: bytes) -> None:
    """Measure what becomes of a page's items."""
    read = reader.read(body)
    items = page_items.items(read[0] if read else (), Ask(1, EVENTS), 0) or ()
    parsed = load_schemas()["mission_event"].parsed
    encode = encoder_of(parsed, b"head")
    assert encode is not None
    fields = [convert.record(one, "mission", 0, late=False) for one in items]

    def by_fastavro() -> None:
        for one in fields:
            schemaless_writer(io.BytesIO(), parsed, one, strict_allow_default=True)

    _measured("fields", lambda: [convert.record(one, "mission", 0, late=False) for one in items])
    _measured("Avro", lambda: [encode(one) for one in fields])
    _measured("  by fastavro, for comparison", by_fastavro)
    _measured(
        "headers",
        lambda: [
            cloud_event(id=one.run_id, source="s", type="t", time=one.at, subject=one.run_id)
            for one in items
        ],
    )
    state = Checkpoint("default", "feed")
    fresh = [Fresh(one, late=False, is_event=True) for one in items]
    _measured("what is new", lambda: state.new(items, Position(), proven=False))
    _measured("plan", lambda: state.plan(items, fresh, Position(), server_time=0, keep=0))


def _row(number: int) -> dict[str, object]:
    return {
        "event_id": f"5f0c1c9e-0000-4000-8000-{number:012}",
        "run_id": f"0b5a3b5e-7a0c-4f4e-9f57-{number % 50:012}",
        "type": "tool_call",
        "summary": "called the tool search_orders",
        "timestamp": "2026-03-09T12:00:00.132341Z",
        "step_id": "step-1",
        "agent_id": None,
        "payload": {"tool": "search_orders", "arguments": {"customer": number, "open": True}},
    }


def _measured(what: str, work: Callable[[], object]) -> None:
    """Print the microseconds an event that work on the whole page takes."""
    clock, best = Clock(), float("inf")
    for _ in range(ROUNDS):
        began = clock.monotonic()
        work()
        best = min(best, clock.monotonic() - began)
    print(f"{what:<30} {best / EVENTS * 1e6:6.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
