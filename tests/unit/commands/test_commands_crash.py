"""Crashes, lost transactions, takeovers and zombies: one final result, at most one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from aiokafka import TopicPartition
from commands_bench import (
    COMMANDS,
    LETTERS,
    RESULTS,
    STATE,
    Make,
    command,
    hold_call,
    missions,
    start,
    until,
)

from bridge.clock import SECOND
from bridge.commands.ledger import ledger
from bridge.errors import GaveUp, KafkaAway, TransactionLost
from bridge.kafka.producer import Record

AT = TopicPartition(COMMANDS, 0)


SENT = [
    start("c1"),
    command("log_event", "c1", body={"type": "message", "summary": "s"}),
    command("cancel_run", "c1"),
]
ONE_EFFECT = [({"c1": 1}, "start"), ({"c1": 1}, "log"), ({"cancel": 1}, "cancel")]
CRASHES = {
    "before the intent is durable": ("before", "intent", False),
    "after the intent": ("after", "intent", False),
    "during the call": ("call", "", True),
    "after the answer": ("before", "done", True),
    "after the result is durable": ("after", "done", False),
}


@pytest.mark.parametrize("which", range(3), ids=["start_run", "log_event", "cancel_run"])
@pytest.mark.parametrize("crash", CRASHES)
async def test_a_crash_anywhere_leaves_one_result_and_at_most_one_effect(
    make: Make, crash: str, which: int
) -> None:
    stage, kind, found = CRASHES[crash]
    never_sent = crash == "after the intent"
    one_effect, operation = ONE_EFFECT[which]
    bench = await make()
    bench.begin()
    reached = hold_call(bench, operation)[0] if stage == "call" else bench.freeze(stage, kind)
    bench.send(SENT[which])
    await asyncio.wait_for(reached.wait(), 60)
    await bench.crash()
    bench.api.script = None
    bench.begin()
    result = await bench.final()
    await bench.idle()
    results = await bench.read(RESULTS)
    assert [r["status"] for r in results if r["final"]] == [result["status"]]
    if never_sent and operation != "cancel":
        assert [r["status"] for r in results] == ["IN_DOUBT"] * 2
        assert not bench.api.effects
        assert "stopped before it recorded an answer" in result["error"]["message"]
        assert "none in the list" in result["error"]["message"]
    else:
        # A run that is cancelled bears no mark: it is looked at twice, and told to be in doubt.
        assert len(results) == (2 if found and operation == "cancel" else 1)
        assert (result["status"], result["error"]) == ("SUCCEEDED", None)
        assert bool(result["resolved_by"]) is found
        assert dict(bench.api.effects) == one_effect


async def test_a_command_in_doubt_gets_its_result_though_its_record_is_gone(make: Make) -> None:
    bench = await make()
    bench.begin()
    reached, _ = hold_call(bench)
    offset = bench.send(start("c1"), headers=(("correlation_id", b"x"),))
    await asyncio.wait_for(reached.wait(), 60)
    await bench.crash()
    bench.kafka.expire(AT, offset + 1)
    bench.begin()
    bench.send(start("c2"))
    results = await bench.results(2)
    await bench.idle()
    assert [(r["command_id"], r["status"], r["resolved_by"]) for r in results] == [
        ("c1", "SUCCEEDED", "runs"),
        ("c2", "SUCCEEDED", None),
    ]
    assert results[0]["source_offset"] == offset
    assert bench.kafka.records(RESULTS)[0].headers == (
        ("correlation_id", b"x"),
        ("bridge_result_id", b"0-0-final"),
    )
    await bench.crash()
    bench.begin()
    await bench.idle()
    assert len(bench.kafka.records(RESULTS)) == 2


@pytest.mark.parametrize("gone", [False, True])
async def test_a_command_that_waits_for_the_api_is_no_doubt_after_a_crash(
    make: Make,
    gone: bool,  # noqa: FBT001
) -> None:
    bench = await make()
    away = httpx.ConnectError("refused")
    bench.api.script = lambda *_: away
    bench.begin()
    offset = bench.send(start("c1"))
    await until(lambda: len(bench.api.calls) > 2)
    await until(lambda: bench.running()["in_progress"] == 1)
    reached = bench.freeze("after", "withdrawn")
    await asyncio.wait_for(reached.wait(), 60)
    await bench.crash()
    if gone:
        bench.kafka.expire(AT, offset + 1)
    one, _ = missions(2)
    bench.api.script = lambda _, request: None if one in request.url.path else away
    bench.begin()
    bench.send(start("c2", one))
    await bench.results(1)
    assert bench.running()["position"] == offset, "the waiting command was passed over"
    bench.api.script = None
    (_, result) = await bench.results(2)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")
    assert result["attempts"] > 2
    assert bench.api.effects == {"c1": 1, "c2": 1}


@pytest.mark.parametrize("kind", ["intent", "done"])
@pytest.mark.parametrize("written", [False, True])
async def test_a_lost_transaction_costs_neither_outcome_nor_order(
    make: Make,
    kind: str,
    written: bool,  # noqa: FBT001
) -> None:
    bench = await make()
    bench.begin()
    lost = bench.lose(kind, written=written)
    bench.send(start("c1"))
    bench.send(start("c2"))
    await bench.results(2)
    await bench.idle()
    results = await bench.read(RESULTS)
    assert lost == [kind]
    assert [(r["command_id"], r["status"]) for r in results] == [
        ("c1", "SUCCEEDED"),
        ("c2", "SUCCEEDED"),
    ]
    assert bench.api.effects == {"c1": 1, "c2": 1}


async def test_the_outcome_of_a_call_in_flight_survives_a_lost_producer(make: Make) -> None:
    bench = await make()
    one, two = missions(2)
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1", one))
    await asyncio.wait_for(reached.wait(), 60)
    epoch = bench.kafka.epochs["mission-bridge.missions.commands.0"]
    lost = bench.lose("intent", written=False)
    bench.send(start("c2", two))
    await until(lambda: lost)
    await until(lambda: bench.kafka.epochs["mission-bridge.missions.commands.0"] > epoch)
    bench.send(start("c3", two))
    await bench.results(2)
    assert bench.running()["position"] == 0, "the command in flight was passed over"
    go_on.set()
    results = await bench.results(3)
    assert {r["command_id"]: r["status"] for r in results} == {
        "c1": "SUCCEEDED",
        "c2": "SUCCEEDED",
        "c3": "SUCCEEDED",
    }
    assert bench.api.effects == {"c1": 1, "c2": 1, "c3": 1}


async def test_four_lost_transactions_in_five_minutes_end_the_process(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.lose("done", written=False, times=4)
    bench.send(start("c1"))
    with pytest.raises(GaveUp, match="4 transactions were lost"):
        await asyncio.wait_for(bench.bridge, 20)


async def test_brokers_that_do_not_answer_for_a_while_are_no_reason_to_end(make: Make) -> None:
    bench = await make()
    bench.begin()
    lost = bench.lose("done", written=False, times=6, error=KafkaAway)
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    assert len(lost) == 6


async def test_an_absent_broker_is_waited_for_and_outcomes_are_kept(make: Make) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1"))
    await asyncio.wait_for(reached.wait(), 60)
    bench.kafka.away = True
    go_on.set()
    before = bench.clock.time
    await until(lambda: bench.clock.time > before + 20)
    assert "commands" in bench.health.reasons
    bench.kafka.away = False
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    await until(lambda: not bench.health.reasons)


async def test_what_finished_out_of_order_is_not_done_again(make: Make) -> None:
    bench = await make()
    one, two, three = missions(3)
    reached, _ = hold_call(bench)
    bench.begin()
    bench.send(start("c1", one))
    await asyncio.wait_for(reached.wait(), 60)
    bench.send(start("c2", two))
    bench.send(b"\x07", key=b"k")
    bench.send(start("c2", two))
    bench.send(start("c3", three))
    await bench.results(3)
    await bench.letters(1)
    await bench.crash()
    bench.api.script = None
    bench.begin()
    results = await bench.results(4)
    await bench.idle()
    assert len(bench.kafka.records(RESULTS)) == 4
    assert len(bench.kafka.records(LETTERS)) == 1
    finals = sorted((r["command_id"], r["status"]) for r in results if r["final"])
    assert finals == [("c1", "SUCCEEDED"), ("c2", "SUCCEEDED"), ("c3", "SUCCEEDED")]
    assert bench.api.effects == {"c1": 1, "c2": 1, "c3": 1}


async def test_sigterm_finishes_calls_in_flight_and_leaves_the_rest_for_later(make: Make) -> None:
    bench = await make(concurrency=1)
    one, two = missions(2)
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1", one))
    await asyncio.wait_for(reached.wait(), 60)
    bench.send(start("c2", two))
    bench.send(start("c3", one))
    await until(lambda: bench.running()["waiting"] == 3)
    bench.stop.set()
    await until(lambda: bench.health.reasons.get("commands") == "ending")
    go_on.set()
    await asyncio.wait_for(bench.bridge, 60)
    (result,) = await bench.read(RESULTS)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")
    assert bench.api.calls == ["start"]
    bench.begin()
    results = await bench.results(3)
    assert {r["command_id"]: r["status"] for r in results} == {
        "c1": "SUCCEEDED",
        "c2": "SUCCEEDED",
        "c3": "SUCCEEDED",
    }


async def test_without_transactions_state_is_written_before_results(make: Make) -> None:
    bench = await make(delivery="at_least_once")
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    await bench.idle()
    assert not bench.kafka.epochs
    topics = [
        [record.topic for record in written] for written in bench.kafka.transactions if written
    ]
    assert topics[-4:] == [[STATE], [STATE], [RESULTS], [STATE]]


async def test_without_transactions_a_crash_before_the_result_publishes_it_later(
    make: Make,
) -> None:
    bench = await make(delivery="at_least_once")
    bench.begin()
    reached = bench.freeze("after", "done")
    bench.send(start("c1"))
    await asyncio.wait_for(reached.wait(), 60)
    assert not bench.kafka.records(RESULTS)
    await bench.crash()
    bench.begin()
    (result,) = await bench.results(1)
    assert (result["status"], result["final"]) == ("SUCCEEDED", True)
    assert bench.api.effects == {"c1": 1}


async def test_without_transactions_a_result_that_was_lost_alone_is_written_again(
    make: Make,
) -> None:
    bench = await make(delivery="at_least_once")
    lost: list[str] = []

    async def hook(at: str, records: Sequence[Record]) -> None:
        if at == "before" and not lost and any(record.topic == RESULTS for record in records):
            lost.append(at)
            raise TransactionLost("no answer")

    bench.kafka.hook = hook
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert lost
    assert result["status"] == "SUCCEEDED"
    assert bench.api.effects == {"c1": 1}


async def test_a_forgotten_command_does_not_run_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offset is complete in the position, which is never forgotten."""
    monkeypatch.setattr(ledger, "HORIZON", 0)
    bench = await make()
    bench.begin()
    for number in range(3):
        bench.send(start(f"c{number}"))
        await bench.results(number + 1)
    states = {record.key: record.value for record in bench.kafka.records(STATE)}
    assert states[b"c0"] is None
    assert states[b"pos/0"] is not None
    await bench.crash()
    bench.begin()
    bench.send(start("c3"))
    await bench.results(4)
    await bench.idle()
    assert len(bench.kafka.records(RESULTS)) == 4
    assert bench.api.effects == {"c0": 1, "c1": 1, "c2": 1, "c3": 1}


@pytest.mark.parametrize("days", [-9, 9])
async def test_a_clock_that_is_set_by_days_lets_no_command_run_twice(make: Make, days: int) -> None:
    bench = await make()
    right, wrong = bench.clock.now, lambda: right() + days * 86_400 * SECOND
    bench.clock.now = wrong  # type: ignore[method-assign]
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    bench.clock.now = right  # type: ignore[method-assign]
    bench.send(start("c2"))
    await bench.results(2)
    bench.send(start("c1"))
    results = await bench.results(3)
    assert [result["status"] for result in results] == ["SUCCEEDED", "SUCCEEDED", "DUPLICATE"]
    assert bench.api.effects == {"c1": 1, "c2": 1}
