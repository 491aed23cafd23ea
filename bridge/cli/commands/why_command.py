"""How `mission-bridge why` tells of a command. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bridge.cli.commands.letters import Letter
from bridge.clock import utc
from bridge.commands.model import Verb
from bridge.commands.trace import Traced
from bridge.kafka.consumer import Received


def as_object(traced: Traced) -> dict[str, Any]:
    """Return what was found of a command, for JSON; times in microseconds UTC."""
    ledger, first = traced.ledger, traced.first
    return {
        **traced.named,
        "sent": [_place(record) for record, _ in traced.sent],
        "ledger": ledger and {**_place(ledger[0]), **_entry(ledger[1])},
        "results": [{**_place(record), "result": told} for record, told in traced.results],
        "dead_letters": [_place(record) for record in traced.letters],
        "run": traced.run and {"run_id": traced.run.run_id, "status": traced.run.status},
        "run_events": {"count": traced.events, "first": first and _place(first)},
        "logged": [{**_place(one), "event_id": told["event_id"]} for one, told in traced.logged],
    }


def _place(record: Received) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "written": record.timestamp * 1000,
    }


def _entry(state: Mapping[str, Any]) -> dict[str, Any]:
    command = state["command"]
    return {"kind": state["kind"], "attempts": command["attempts"], "of": command["offset"]}


def lines(command_id: str, traced: Traced) -> Iterator[str]:
    """Tell of a command in sentences."""
    yield f"command {command_id}: {traced.named['type'] or 'a dead letter'}"
    for record, _ in traced.sent:
        yield f"  sent: {_where(record)}"
    if not traced.sent and not traced.letters:
        yield "  sent: no longer on its topic, retention has deleted it"
    if traced.ledger is not None:
        entry = _entry(traced.ledger[1])
        attempts = f"{entry['attempts']} attempt{'s' * (entry['attempts'] != 1)}"
        yield f"  ledger: {entry['kind']}, {attempts}, of offset {entry['of']}"
    elif traced.sent:
        yield "  ledger: nothing. It was not accepted, waits to be read, or is forgotten by now"
    for record, result in traced.results:
        yield f"  result: {_result(result)}, {_where(record)}"
    if traced.sent and not traced.results:
        yield "  result: none"
    for record in traced.letters:
        yield f"  dead letter that names it: {Letter.of(record).reason}, {_where(record)}"
    yield from _effect(traced)


def _effect(traced: Traced) -> Iterator[str]:
    run = traced.run
    if run is not None:
        yield f"  run {run.run_id} bears its id in metadata.bridge_command_id; it is {run.status}"
    elif traced.named["type"] == Verb.START_RUN:
        yield "  the API shows no run that bears its id in metadata.bridge_command_id"
    if traced.first is not None and traced.named["type"] == Verb.START_RUN:
        yield f"  events of the run: {traced.events}, the first: {_where(traced.first)}"
    for record, event in traced.logged:
        yield f"  logged event {event['event_id']}: {_where(record)}"
    if traced.named["type"] == Verb.LOG_EVENT and not traced.logged:
        yield "  the events' topic has no event with its id as idempotency_key"


def _result(result: Mapping[str, Any]) -> str:
    told = [result["status"], "final" if result["final"] else "not final"]
    if result["resolved_by"]:
        told.append(f"settled by: {result['resolved_by']}")
    if result["error"]:
        told.append(f"{result['error']['code']}: {result['error']['message']}")
    return ", ".join(told)


def _where(record: Received) -> str:
    at = f"{record.topic}, partition {record.partition}, offset {record.offset}"
    return f"{at}, written {utc(record.timestamp * 1000)}"
