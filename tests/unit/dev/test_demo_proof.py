"""The demo's proof must fail whenever a promise is broken, by whatever it is broken."""

from collections.abc import Callable
from typing import Any

import pytest

from bridge.dev.demo.proof import ProofVerdict, PublishedEvent, Sent, prove_commands, prove_events

RUN, OTHER = "run-1", "run-2"
SENT = [
    Sent("c1", "start_run", None),
    Sent("c2", "pause_run", RUN),
    Sent("c3", "log_event", RUN),
]
RESULTS = [
    {"command_id": "c1", "status": "SUCCEEDED", "final": True},
    {"command_id": "c2", "status": "SUCCEEDED", "final": True},
    {"command_id": "c3", "status": "SUCCEEDED", "final": True},
]
EFFECTS = [
    {"operation": "start_run", "mission_id": "m", "run_id": RUN, "command_id": "c1"},
    {"operation": "pause_run", "mission_id": "m", "run_id": RUN, "status": "paused"},
    {"operation": "log_event", "mission_id": "m", "run_id": RUN, "idempotency_key": "c3"},
]


def row(
    number: int, run: str = RUN, *, shown: bool = True, deleted: bool = False
) -> dict[str, Any]:
    at = f"2026-01-01T00:00:{number:02}.000000Z"
    return {
        "event_id": f"e{number}",
        "run_id": run,
        "timestamp": at,
        "shown_at": at if shown else None,
        "deleted_at": at if deleted else None,
    }


def record(number: int, run: str = RUN, *, late: bool = False) -> PublishedEvent:
    return PublishedEvent(run, f"e{number}", late)


LEDGER = [row(1), row(2), row(3), row(1, OTHER), row(2, OTHER)]
RECORDS = [record(1), record(1, OTHER), record(2), record(2, OTHER), record(3)]


def figure(verdict: ProofVerdict, name: str) -> int:
    return dict(verdict.figures)[name]


def test_it_holds_when_every_event_is_there_once_and_in_order() -> None:
    verdict = prove_events(LEDGER, RECORDS)
    assert verdict.holds
    assert str(verdict) == (
        "API showed 5 | on Kafka 5 | missing 0 | doubled 0 | out of order 0 | marked late 0"
    )


@pytest.mark.parametrize("gone", range(len(RECORDS)))
def test_it_fails_when_any_record_is_removed(gone: int) -> None:
    verdict = prove_events(LEDGER, RECORDS[:gone] + RECORDS[gone + 1 :])
    assert not verdict.holds
    assert figure(verdict, "missing") == 1
    lost = f"{RECORDS[gone].run_id}/{RECORDS[gone].event_id}"
    assert verdict.differences == (f"1 events missing on Kafka: {lost}",)


@pytest.mark.parametrize("again", range(len(RECORDS)))
def test_it_fails_when_any_record_is_doubled(again: int) -> None:
    verdict = prove_events(LEDGER, [*RECORDS, RECORDS[again]])
    assert not verdict.holds
    assert figure(verdict, "doubled") == 1


def test_it_fails_when_records_of_a_run_change_places() -> None:
    verdict = prove_events(LEDGER, [record(2), record(1), record(3), *RECORDS[1:4:2]])
    assert not verdict.holds
    assert figure(verdict, "out of order") == 1


def test_the_order_of_different_runs_does_not_matter() -> None:
    assert prove_events(LEDGER, sorted(RECORDS)).holds


def test_equal_timestamps_may_come_in_any_order() -> None:
    ledger = [row(1), {**row(2), "timestamp": row(1)["timestamp"]}]
    assert prove_events(ledger, [record(2), record(1)]).holds


def test_a_late_record_must_be_marked_and_only_such_a_record() -> None:
    ledger = [row(1), row(2)]
    marked = prove_events(ledger, [record(2), record(1, late=True)])
    assert marked.holds
    assert figure(marked, "marked late") == 1
    assert not prove_events(ledger, [record(1), record(2, late=True)]).holds


def test_it_fails_when_the_bridge_left_events_unread() -> None:
    verdict = prove_events([*LEDGER, row(9, shown=False)], RECORDS)
    assert verdict.differences == (
        "1 events held by the API and never read by the bridge: run-1/e9",
    )


def test_events_that_the_api_deleted_may_be_there_or_not() -> None:
    ledger = [row(1), row(2, deleted=True)]
    assert prove_events(ledger, [record(1)]).holds
    assert prove_events(ledger, [record(1), record(2)]).holds


def test_it_fails_when_kafka_has_an_event_that_the_api_never_had() -> None:
    assert not prove_events(LEDGER, [*RECORDS, record(7)]).holds


def test_differences_name_a_few_and_count_all() -> None:
    verdict = prove_events(LEDGER, [])
    assert verdict.differences == ("5 events missing on Kafka: run-1/e1, run-1/e2, run-1/e3 ...",)


def test_commands_hold_with_one_result_and_one_effect_each() -> None:
    verdict = prove_commands(SENT, RESULTS, EFFECTS)
    assert verdict.holds
    assert str(verdict) == (
        "sent 3 | final results 3 | without a result 0 | in doubt 0 | effects 3 | "
        "effects done twice 0"
    )


def test_a_result_that_is_not_final_does_not_count() -> None:
    early = {"command_id": "c2", "status": "IN_DOUBT", "final": False}
    assert prove_commands(SENT, [*RESULTS, early], EFFECTS).holds


def test_a_command_in_doubt_may_have_had_its_effect_or_not() -> None:
    doubt = [RESULTS[0], {**RESULTS[1], "status": "IN_DOUBT"}, RESULTS[2]]
    carried_out = prove_commands(SENT, doubt, EFFECTS)
    assert carried_out.holds
    assert figure(carried_out, "in doubt") == 1
    assert prove_commands(SENT, doubt, [EFFECTS[0], EFFECTS[2]]).holds


Rows = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (lambda r, e: (r[1:], e), "without a final result: start_run c1"),
        (lambda r, e: ([*r, r[1]], e), "more than one final result: pause_run c2"),
        (lambda r, e: (r, [*e, e[0]]), "done more than once by the API: start_run c1"),
        (lambda r, e: (r, [*e, e[1]]), "done more than once by the API: pause_run c2"),
        (lambda r, e: (r, [*e, e[2]]), "done more than once by the API: log_event c3"),
        (lambda r, e: (r, e[:1] + e[2:]), "unknown to the API: pause_run c2"),
        (lambda r, e: ([{**r[0], "status": "FAILED"}, *r[1:]], e), "start_run c1 (FAILED)"),
        (lambda r, e: ([*r, {**r[0], "command_id": "c9"}], e), "nobody sent: c9"),
        (lambda r, e: (r, [*e, {**e[1], "operation": "cancel_run"}]), "cancel_run of run-1"),
    ],
)
def test_commands_fail_when_a_promise_is_broken(
    broken: Callable[[Rows, Rows], tuple[Rows, Rows]], named: str
) -> None:
    verdict = prove_commands(SENT, *broken(list(RESULTS), list(EFFECTS)))
    assert len(verdict.differences) == 1
    assert named in verdict.differences[0]
