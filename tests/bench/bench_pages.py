"""What it costs to read a page of 1,000 events: the fast way and the exact way, side by side.

Run by hand: python tests/bench/bench_pages.py. The figures are the best of several rounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from bridge.clock import Clock
from bridge.missions import jsontext, slices
from bridge.missions.events import EventReader, event_of
from bridge.source.reading.content import checksum

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
    assert [event_of(text) for text in texts] == read[0]

    fast = _measured("fast way", lambda: reader.read(body))
    _measured("one by one", lambda: reader.exact(slices.elements(slices.members(body)["data"])))
    exact = _measured("exact way", lambda: [event_of(text) for text in texts])
    tree = _measured("as objects, for comparison", lambda: jsontext.loads(body))
    _measured("checksum", lambda: [checksum(one) for one in read[0]])
    print(f"exact / fast: {exact / fast:.1f}, objects / fast: {tree / fast:.1f}")  # noqa: T201


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


def _measured(what: str, work: Callable[[], object]) -> float:
    """Print and return the microseconds an event that work on the whole page takes."""
    clock, best = Clock(), float("inf")
    for _ in range(ROUNDS):
        began = clock.monotonic()
        work()
        best = min(best, clock.monotonic() - began)
    print(f"{what}: {best / EVENTS * 1e6:.2f} us an event")  # noqa: T201
    return best


if __name__ == "__main__":
    main()
