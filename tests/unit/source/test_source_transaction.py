"""What one transaction marks as late, across dead letters and other transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from source_bench import LAYOUT, START, SteppedClock
from source_codec import CODEC, EVENTS, at_once, decode

from bridge.clock import Micros
from bridge.kafka.producer import Record, Writer
from bridge.missions.models import Event
from bridge.source.checkpoint.position import Configured, Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.identity import digest
from bridge.source.reading.windows import BEGINNING, Item
from bridge.source.writing.certificate import Proof
from bridge.source.writing.mission_index import MissionIndex
from bridge.source.writing.publish import Publisher
from bridge.source.writing.transaction import Committer

PROOF = Proof("deep", 1, START, BEGINNING, 0)
POSITION = Position(frontier=START)


class _Missions:
    def get(self, _run_id: str) -> None:
        return None

    async def learn(self, _run_ids: Any) -> bool:
        return False


class _Writer:
    def __init__(self) -> None:
        self.records: list[Record] = []

    async def commit(self, records: Sequence[Record]) -> None:
        self.records += records


@pytest.fixture
def writer() -> _Writer:
    return _Writer()


@pytest.fixture
def committer(writer: _Writer) -> Committer:
    return Committer(
        Checkpoint("default", "feed"),
        publisher=Publisher(CODEC, LAYOUT, "https://api.example.test"),
        writer=cast("Writer", writer),
        index=cast("MissionIndex", _Missions()),
        clock=SteppedClock(),
        configured=Configured(1, 2, 3),
    )


def item(number: int, at: Micros, *, broken: bool = False) -> Item:
    """Return an event of one run; a broken one has text that no record can hold.

    `at` counts from START, as older ones expire.
    """
    row = Event(str(number), "run", "t", "not looked at", "\ud800" if broken else "s")
    return Item(START + at, digest("run", str(number)), "run", row)


def marks(writer: _Writer) -> list[bool]:
    """Return whether the events that were written are late, in order."""
    found = [one.value for one in writer.records if one.topic == LAYOUT.events]
    return [decode(EVENTS, value)["late"] for value in found]


def test_an_event_is_late_after_a_later_one_of_its_own_transaction(
    committer: Committer, writer: _Writer
) -> None:
    new = [item(1, 20), item(2, 20), item(3, 15), item(4, 18), item(5, 30)]
    at_once(committer.commit(new, POSITION, PROOF))
    assert marks(writer) == [False, False, True, True, False]


def test_an_event_is_late_after_a_later_one_of_another_transaction(
    committer: Committer, writer: _Writer
) -> None:
    at_once(committer.commit([item(1, 20)], POSITION, PROOF))
    at_once(committer.commit([item(2, 19), item(3, 20)], POSITION, PROOF))
    assert marks(writer) == [False, True, False]


def test_a_dead_letter_makes_no_event_late_in_either(committer: Committer, writer: _Writer) -> None:
    at_once(committer.commit([item(1, 90, broken=True), item(2, 10)], POSITION, PROOF))
    at_once(committer.commit([item(3, 95, broken=True)], POSITION, PROOF))
    at_once(committer.commit([item(4, 50)], POSITION, PROOF))
    assert marks(writer) == [False, False]
    assert (committer.state.published, committer.state.late) == (4, 0)


def test_an_event_that_comes_twice_is_written_once(committer: Committer, writer: _Writer) -> None:
    at_once(committer.commit([item(1, 10), item(1, 10)], POSITION, PROOF))
    at_once(committer.commit([item(1, 10), item(2, 11)], POSITION, PROOF))
    assert marks(writer) == [False, False]


def test_what_is_only_remembered_is_not_written_then_or_later(
    committer: Committer, writer: _Writer
) -> None:
    at_once(committer.commit([item(1, 10)], POSITION, PROOF, publish=False))
    at_once(committer.commit([item(1, 10)], POSITION, PROOF))
    assert marks(writer) == []
