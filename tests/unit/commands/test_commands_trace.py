"""What `why` takes a command for, where several records bear its id."""

from __future__ import annotations

from typing import Any

from aiokafka import ConsumerRecord

from bridge.commands.trace import Traced


def record(offset: int) -> Any:
    return ConsumerRecord("t", 0, offset, 0, 0, b"k", b"v", None, 1, 1, ())


def result(offset: int, mission: str, run: str | None, *, final: bool) -> Any:
    fields = {"type": "start_run", "mission_id": mission, "run_id": run, "final": final}
    return record(offset), fields | {"source_offset": offset}


def sent(offset: int, mission: str) -> Any:
    return record(offset), {"type": "start_run", "mission_id": mission, "run_id": None}


FIRST = result(3, "m1", "r1", final=True)
REFUSED = result(9, "m2", None, final=False)


def test_a_refused_repeat_does_not_say_what_the_command_is_about() -> None:
    command = {"offset": 3, "type": "start_run", "mission_id": "m1", "run_id": None}
    outcome = {"mission_id": None, "run_id": "r1"}
    entry: Any = {"command": command, "outcome": outcome}
    traced = Traced(
        sent=[sent(9, "m2"), sent(3, "m1")],
        ledger=(record(0), entry),
        results=[FIRST, REFUSED],
    )
    assert traced.named == {"type": "start_run", "mission_id": "m1", "run_id": "r1"}


def test_without_the_ledger_the_final_result_leads() -> None:
    traced = Traced(sent=[sent(9, "m2"), sent(3, "m1")], results=[FIRST, REFUSED])
    assert traced.named == {"type": "start_run", "mission_id": "m1", "run_id": "r1"}


def test_a_command_without_a_result_is_told_by_its_record() -> None:
    assert Traced(sent=[sent(9, "m2")]).named["mission_id"] == "m2"
