"""Pages of every odd kind become the very records that are recorded beside this file.

A change of code that is meant to be faster must not change a byte here. Where records are meant to
change: RECORD=1 .venv/bin/python -m pytest tests/unit/source/test_source_golden.py
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from source_bench import LAYOUT, START, SteppedClock
from source_codec import CODEC, at_once

from bridge.kafka.producer import Record, Writer
from bridge.missions import slices
from bridge.missions.events import EventReader
from bridge.missions.models import Event, Malformed
from bridge.source.checkpoint.position import Configured, Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading import page_items
from bridge.source.reading.windows import BEGINNING, Ask
from bridge.source.writing.certificate import Proof
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Publisher
from bridge.source.writing.transaction import Committer

RECORDED = Path(__file__).with_name("golden_records.json")


def row(number: int, at: str | None = None, **fields: str) -> str:
    """Return an event as JSON text; `fields` are JSON texts, empty ones are left out."""
    every = {
        "event_id": f'"event-{number}"',
        "run_id": f'"run-{number % 3}"',
        "type": '"tool_call"',
        "summary": '"s"',
        "timestamp": f'"{at or f"2026-03-09T12:00:{number:02}.132341Z"}"',
        "payload": f'{{"n":{number}}}',
        **fields,
    }
    return "{" + ",".join(f'"{name}": {text}' for name, text in every.items() if text) + "}"


ODD = [
    row(20, payload='{"amount": 1.10, "big":12345678901234567890123,\n\t"e":[1e-400, 1E+999, -0]}'),
    row(
        19,
        payload='"\\u00e9\\ud83d\\ude80 \\/ \\\\ \\"q\\" Grüße 🚀"',
        summary='"Grüße 世界 🚀\\n\\u0000"',
    ),
    row(18, payload='{"lone":"\\ud800"}'),
    row(17, summary='"\\udc00 alone"'),
    row(16, payload="null", step_id='"step"', agent_id='"agent"', idempotency_key='"key"'),
    row(15, payload="", summary="null", step_id="null", agent_id='""'),
    row(14, payload="[]", priority="1.50", zulu="null", **{"a b": '{"x": [1, 2]}'}),
    row(13, payload="true", event_id="12345678901234567890", run_id="-7"),
    row(13, payload="false", event_id="12345678901234567890", run_id="-7"),
    row(12, event_id='"' + "é" * 70 + '"', run_id='"' + "r" * 100 + '"', type='"new/kind ü"'),
    row(11, event_id="", summary='"no id"'),
    row(10, type="7"),
    '"no object"',
    "[1, {}]",
    "null",
    row(9, at="2026-03-09T12:00:09"),
    row(9, at="2026-03-09T12:00:09", event_id='"again"', run_id='"run-0"'),
    row(8, at="2026-03-09T14:30:08.5+02:30"),
    row(7, at="2026-03-09t12:00:07.999999999z"),
    row(6, at="2026-03-09T11:59:60Z"),
    row(5, at="yesterday"),
    row(4, at="0000-00-00T00:00:00Z"),
    row(3, at="2026-03-09 12:00:03,25"),
    row(2, at="1969-12-31T23:59:59.999999Z"),
    row(1, at="0001-01-01T00:00:00Z"),
    row(0, at="0001-01-01T00:00:00+14:00"),
    row(30, at="9999-12-31T23:59:59.999999Z", run_id='"far"'),
    row(31, at="20260309T120000Z", run_id='"basic"'),
    row(32, at="2026-W11-1T12:00:00Z", run_id='"week"'),
    row(33, at="2026-03-09", run_id='"day"'),
    row(34, at="2026-03-09T12", run_id='"hour"'),
    row(35, at="2026-02-29T12:00:00.000000Z", run_id='"leap"'),
    row(36, at="2026-03-09T24:00:00Z", run_id='"midnight"'),
    row(37, run_id='""', event_id='""'),
    row(38, payload='"' + "x" * 9_000 + '"', run_id='"long"'),
    row(39, payload='"' + "y" * 1_100_000 + '"', run_id='"' + "too-long" * 1_000 + '"'),
]
PAGES: list[list[str]] = [
    [row(number) for number in range(25, 20, -1)],
    ODD,
    [row(number) for number in (41, 40)] + ODD[:6] + [row(42, at="2026-03-09T11:00:00Z")],
    [row(50, payload='{"a":1}', new_field='"learned"'), row(49, priority="2")],
]


class _Missions(MissionIndex):
    """Knows the mission of one run, and looks nothing up."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def get(self, run_id: str) -> str | None:
        return "mission-1" if run_id == "run-1" else None

    async def learn(self, run_ids: Any) -> bool:
        self.asked.append(sorted(run_ids))
        return False


class _Writer:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def commit(self, records: Sequence[Record]) -> None:
        self.records += records


def _rows(reader: EventReader, page: list[str]) -> Sequence[Event | Malformed]:
    body = ('{"data": [' + ", ".join(page) + '], "meta": {}}').encode()
    read = reader.read(body)
    if read is not None:
        return read[0]
    found, unknown = reader.exact(slices.elements(slices.members(body)["data"]))
    reader.learn(unknown)
    return found


def _written() -> list[Record]:
    """Publish every page, in a transaction each; return all the records."""
    writer, reader, missions = _Writer(), EventReader(), _Missions()
    committer = Committer(
        Checkpoint("default", "feed"),
        publisher=Publisher(CODEC, LAYOUT, "https://api.example.test/v2/ai/missions"),
        writer=cast("Writer", writer),
        index=missions,
        clock=SteppedClock(),
        configured=Configured(1, 2, 3),
    )
    for number, page in enumerate(PAGES):
        ask = Ask(number + 1, 100)
        items = page_items.items(_rows(reader, page), ask, START)
        assert items is not None
        proof = Proof("deep", number, START, BEGINNING, 900)
        in_turn = sorted(items, key=lambda one: one.at)
        at_once(committer.commit_all(in_turn, Position(frontier=START + number), proof))
    assert missions.asked, "nobody asked for missions"
    return writer.records


def _shown(record: Record) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [f"{name}={_text(value)}" for name, value in record.headers],
    }


def _text(value: bytes | None) -> str | None:
    """Return bytes as text; of what is long the beginning, length and SHA-256."""
    if value is None:
        return None
    text = value.decode("latin-1")
    if len(text) <= 600:
        return text
    return f"{text[:100]}... {len(value)} bytes, {hashlib.sha256(value).hexdigest()}"


def test_every_page_becomes_the_recorded_records() -> None:
    # What the checkpoint holds of contents and segments is no output: others test it.
    shown = [
        _shown(one)
        for one in _written()
        if one.topic != LAYOUT.checkpoint or (one.key or b"").startswith(b"run/")
    ]
    if os.environ.get("RECORD"):
        RECORDED.write_text(json.dumps(shown, indent=0) + "\n")
    recorded = json.loads(RECORDED.read_text())
    assert [one["topic"] for one in shown] == [one["topic"] for one in recorded]
    for one, expected in zip(shown, recorded, strict=True):
        assert one == expected
