"""The ledger as a fold, the position as a set, and records that come back as they went."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from bridge.avro.codec import load_schemas
from bridge.clock import SECOND
from bridge.commands import state_record
from bridge.commands.ledger import ledger
from bridge.commands.ledger.ledger import HORIZON, Ledger
from bridge.commands.ledger.packing import pack, unpack
from bridge.commands.ledger.position import InputPosition
from bridge.commands.model import Doubt, Entry, Kind, Outcome, Problem, Received, Status
from bridge.errors import InvalidRecord

ORIGIN = Received(3, 17, b"key", b"\0value", (("h", b"1"), ("h", b"")), 5)
ENTRY = Entry(
    kind=Kind.NEW,
    command_id="c1",
    type="start_run",
    mission_id="m",
    run_id=None,
    account=None,
    fingerprint=b"0123456789abcdef",
    offset=17,
    received_at=5,
    origin=ORIGIN,
)
DONE = Outcome(
    Status.REJECTED,
    finished_at=9,
    problem=Problem("api_rejected", "no", "{}"),
    http_status=422,
    response="{}",
    mission_id="m2",
    run_id="r2",
    resolved_by="run",
)


def through_avro(state: dict[str, Any]) -> Any:
    """What another bridge reads of it."""
    schema = load_schemas()["command_state"].parsed
    out = BytesIO()
    schemaless_writer(out, schema, state, strict=True)
    return schemaless_reader(BytesIO(out.getvalue()), schema, None)


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY.attempting(before=None, now=7),
        ENTRY.attempting(before=None, now=7).withdrawn(counts=True),
        ENTRY.attempting(before=None, now=7).withdrawn(counts=False),
        ENTRY.attempting(before=None, now=7).done(DONE),
        ENTRY.attempting(before="running", now=7).doubted(Doubt("reset", 500, "{}", told=True)),
        ENTRY.done(Outcome(Status.EXPIRED, 9)),
    ],
)
def test_an_entry_comes_back_as_it_went(entry: Entry) -> None:
    book = Ledger()
    book.fold("c1", through_avro(ledger.entry_state(entry, "me", 1)), partition=3)
    assert book.get("c1") == entry


def test_the_schema_file_is_plain_avro() -> None:
    parsed = parse_schema(json.loads(load_schemas()["command_state"].text))
    assert isinstance(parsed, dict)
    assert parsed["name"] == "missionbridge.v1.CommandState"


def test_the_last_record_of_a_key_counts_and_a_tombstone_forgets() -> None:
    book = Ledger()
    for entry in (
        ENTRY.attempting(before=None, now=7),
        ENTRY.attempting(before=None, now=7).done(DONE),
    ):
        book.fold("c1", through_avro(ledger.entry_state(entry, "me", 1)), partition=3)
    found = book.get("c1")
    assert found is not None
    assert found.kind is Kind.DONE
    book.fold("c1", None, partition=3)
    assert book.get("c1") is None


def test_unfinished_commands_come_in_the_order_of_the_topic() -> None:
    book = Ledger()
    for command_id, offset, kind in (("b", 9, Kind.INTENT), ("a", 2, Kind.WITHDRAWN)):
        book.put(Entry(kind, command_id, "start_run", "m", None, None, b"", offset, 0))
    book.put(Entry(Kind.NEW, "c", "start_run", "m", None, None, b"", 1, 0).done(DONE))
    assert [entry.command_id for entry in book.unfinished()] == ["a", "b"]


def test_position_and_claims_come_back() -> None:
    book = Ledger()
    position = InputPosition(4, [(6, 7), (10, 10)])
    book.fold("pos/3", through_avro(ledger.position_state(position, 6, "me", 1)), partition=3)
    book.fold("claim/3/abc", through_avro(ledger.claim_state("abc", 1)), partition=3)
    assert book.position is not None
    assert (book.position.low, book.position.spans) == (4, [(6, 7), (10, 10)])
    assert book.partitions == 6
    assert book.claims == {"claim/3/abc"}
    book.fold("claim/3/abc", None, partition=3)
    assert not book.claims


def test_a_newer_bridges_ledger_is_refused() -> None:
    state = ledger.claim_state("abc", 1) | {"version": state_record.VERSION + 1}
    with pytest.raises(InvalidRecord, match="run the newer bridge"):
        Ledger().fold("claim/3/abc", through_avro(state), partition=3)


OFFSETS = st.integers(min_value=0, max_value=40)


@given(st.integers(0, 10), st.lists(st.tuples(OFFSETS, OFFSETS)))
def test_a_position_is_the_set_of_what_was_completed(
    low: int, spans: list[tuple[int, int]]
) -> None:
    position = InputPosition(low)
    expected = set(range(low))
    for first, last in spans:
        position.complete(first, last)
        expected |= set(range(first, last + 1))
    assert {offset for offset in range(60) if position.covers(offset)} == expected
    edges = [edge for span in position.spans for edge in span]
    assert edges == sorted(edges)
    assert all(first > position.low for first, _ in position.spans)
    joined = zip(position.spans, position.spans[1:], strict=False)
    assert all(after[0] > before[1] + 1 for before, after in joined)


@given(st.lists(OFFSETS), st.lists(OFFSETS), st.lists(OFFSETS))
def test_merging_and_looking_ahead_are_unions(
    one: list[int], other: list[int], ahead: list[int]
) -> None:
    left, right = InputPosition(3), InputPosition(5)
    for offset in one:
        left.complete(offset)
    for offset in other:
        right.complete(offset)
    before = left.spans
    further = left.with_completed(ahead)
    assert left.spans == before
    assert {o for o in range(60) if further.covers(o)} == {
        o for o in range(60) if left.covers(o) or o in ahead
    }
    left.merge(right)
    assert {o for o in range(60) if left.covers(o)} == set(range(5)) | set(one) | set(other)


def test_offsets_that_kafka_never_shows_do_not_hold_the_mark_back() -> None:
    position = InputPosition(10)
    assert position.take(10)
    assert position.take(12)
    assert not position.take(12)
    position.complete(10)
    assert position.low == 12
    position.complete(12)
    assert position.low == 13


def test_an_offset_held_by_the_ledger_is_not_passed_when_its_record_is_gone() -> None:
    position = InputPosition(10)
    position.hold(11)
    assert position.take(20)
    assert position.low == 11
    assert not position.covers(11)
    position.complete(11)
    position.complete(20)
    assert position.low == 21


def test_an_offset_held_by_the_ledger_is_not_worked_on_twice() -> None:
    position = InputPosition(10)
    position.hold(11)
    assert [position.take(offset) for offset in (10, 11, 12)] == [True, False, True]


def finished(command_id: str, at: int, response: str = "{}") -> Entry:
    outcome = Outcome(Status.SUCCEEDED, at, response=response)
    return replace(ENTRY, command_id=command_id).done(outcome)


def test_what_finished_long_ago_is_forgotten_oldest_first() -> None:
    book = Ledger()
    for number in range(4):
        book.put(finished(f"c{number}", at=0), now=float(number))
    book.put(replace(ENTRY, command_id="begun"), now=0.0)
    assert book.too_old(HORIZON, most=10) == ["c0"]
    assert book.too_old(HORIZON + 2, most=2) == ["c0", "c1"]
    for command_id in book.too_old(HORIZON + 9, most=10):
        book.forget(command_id)
    assert [entry.command_id for entry in book.unfinished()] == ["begun"]
    assert book.get("c3") is None


@pytest.mark.parametrize("days", [-9, 0, 9, 10_000])
def test_no_wall_clock_decides_what_is_forgotten(days: int) -> None:
    book = Ledger(began=50.0)
    state = through_avro(ledger.entry_state(finished("c0", at=days * 86_400 * SECOND), "me", 1))
    book.fold("c0", state, partition=0)
    book.put(finished("c1", at=days * 86_400 * SECOND), now=51.0)
    assert book.too_old(50.0 + HORIZON - 1, most=10) == []
    assert book.too_old(50.0 + HORIZON, most=10) == ["c0"]


def test_a_full_ledger_forgets_the_oldest_early(monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger()
    for number in range(6):
        book.put(finished(f"c{number}", at=number), now=0.0)
    assert book.too_old(0, most=10) == []
    monkeypatch.setattr(ledger, "MOST_FINISHED", 4)
    assert book.too_old(0, most=10) == ["c0", "c1"]


def test_long_answers_are_dropped_and_no_command_is_forgotten_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "MOST_TEXT", 50)
    book = Ledger()
    for number in range(6):
        book.put(finished(f"c{number}", at=number, response="x" * 10), now=0.0)
    assert book.too_old(0, most=10) == []
    assert [entry.command_id for entry in book.too_long(most=3, partitions=2)] == ["c0", "c1", "c2"]
    for entry in book.too_long(most=10, partitions=2):
        assert entry.outcome is not None
        assert entry.outcome.response is None
        book.shorten(entry)
    assert book.too_long(most=10, partitions=2) == []
    known = [book.get(f"c{number}") for number in range(6)]
    answers = [entry and entry.outcome and entry.outcome.response for entry in known]
    assert answers == [None] * 4 + ["x" * 10] * 2


@given(since=st.floats(0, 1e9))
@pytest.mark.parametrize(
    "entry",
    [
        ENTRY.done(DONE),
        ENTRY.attempting(before="{}", now=7)
        .doubted(Doubt("timed out", 504, "x", told=True))
        .done(replace(DONE, status=Status.IN_DOUBT, problem=None, response=None)),
        replace(ENTRY, account="a", run_id="r", mission_id=None).done(Outcome(Status.EXPIRED, 9)),
    ],
)
def test_a_finished_command_is_packed_without_loss(entry: Entry, since: float) -> None:
    assert unpack(entry.command_id, pack(entry, since)) == (since, entry)


def test_finished_commands_are_no_work_for_the_garbage_collector() -> None:
    book = Ledger()
    for number in range(1_000):
        book.put(finished(f"c{number}", at=number), now=float(number))
    gc.collect()
    assert sum(isinstance(each, Entry) and each.kind is Kind.DONE for each in gc.get_objects()) < 50
