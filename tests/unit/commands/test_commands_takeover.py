"""Two owners of a partition, frozen ones that wake: no second effect and no second result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx
from aiokafka import TopicPartition
from commands_bench import COMMANDS, RESULTS, STATE, Make, hold_call, missions, start, until

from bridge.commands.limits import GUARD
from bridge.errors import TransactionLost
from bridge.kafka.producer import Record

AT = TopicPartition(COMMANDS, 0)


async def test_after_an_outage_nothing_is_opened_before_the_group_says_whose_it_is(
    make: Make,
) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1"))
    await asyncio.wait_for(reached.wait(), 60)
    bench.kafka.away = True
    go_on.set()
    await until(lambda: "commands" in bench.health.reasons)
    first, bench.process.assigned = bench.commands, set()
    bench.kafka.away = False
    bench.begin()
    (result,) = await bench.results(1)
    assert (result["status"], result["resolved_by"]) == ("SUCCEEDED", "runs")
    await until(lambda: not first.status()["partitions"])
    assert bench.kafka.epochs["mission-bridge.missions.commands.0"] == 2, "the first came back"


async def test_a_second_owner_fences_the_first_which_stands_by(make: Make) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    first = bench.begin()
    bench.send(start("c1"))
    await asyncio.wait_for(reached.wait(), 60)
    frozen, bench.process.assigned = bench.process, set()
    bench.begin()
    (result,) = await bench.results(1)
    go_on.set()
    bench.send(start("c2"))
    results = await bench.results(2)
    await bench.idle()
    assert result["resolved_by"] == "runs"
    assert [(r["command_id"], r["status"]) for r in results] == [
        ("c1", "SUCCEEDED"),
        ("c2", "SUCCEEDED"),
    ]
    assert bench.api.effects == {"c1": 1, "c2": 1}
    assert frozen.assigned == set()
    assert not first.done()


async def test_a_frozen_owner_that_wakes_does_not_send_what_it_had_announced(make: Make) -> None:
    bench = await make()
    awake = asyncio.Event()

    async def hook(at: str, records: Sequence[Record]) -> None:
        if at == "after" and "intent" in await bench.kinds(records) and not awake.is_set():
            bench.kafka.hook = None
            await awake.wait()

    bench.kafka.hook = hook
    bench.begin()
    bench.send(start("c1"))
    await until(lambda: bench.kafka.hook is None)
    first, frozen_at = bench.bridge, bench.clock.time
    bench.begin()
    assert (await bench.final())["status"] == "IN_DOUBT"
    await until(lambda: bench.clock.time > frozen_at + GUARD)
    awake.set()
    bench.send(start("c2"))
    await bench.final("c2")
    assert bench.api.effects == {"c2": 1}
    assert not first.done()


async def test_an_intent_that_grew_old_is_announced_again(make: Make) -> None:
    bench = await make()
    late = [6.0]

    async def hook(at: str, records: Sequence[Record]) -> None:
        if at == "after" and late and "intent" in await bench.kinds(records):
            bench.clock.time += late.pop()

    bench.kafka.hook = hook
    bench.begin()
    bench.send(start("c1"))
    (result,) = await bench.results(1)
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 1)
    assert bench.api.calls == ["start"]
    kinds = await bench.kinds(bench.kafka.records(STATE))
    assert [kind for kind in kinds if kind not in ("claim", "position")] == [
        "intent",
        "withdrawn",
        "intent",
        "done",
    ]


async def test_an_owner_that_comes_back_sees_what_another_did_meanwhile(make: Make) -> None:
    """The first waits for the API; the second takes over and does it; the first reopens."""
    bench = await make()
    bench.api.script = lambda *_: httpx.ConnectError("refused")
    bench.begin()
    first = bench.process
    bench.send(start("c1"))
    await until(lambda: len(bench.api.calls) > 1)
    hang, hung = asyncio.Event(), asyncio.Event()

    async def freeze_first(_: str, records: Sequence[Record]) -> None:
        if "intent" in await bench.kinds(records) and not hung.is_set():
            hung.set()
            await hang.wait()
            raise TransactionLost("no answer")

    bench.kafka.hook = freeze_first
    await asyncio.wait_for(hung.wait(), 60)
    bench.api.script = None
    bench.begin()
    second = bench.process
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    second.assigned = set()
    hang.set()
    bench.send(start("c2"))
    results = await bench.results(2)
    assert [(r["command_id"], r["status"]) for r in results] == [
        ("c1", "SUCCEEDED"),
        ("c2", "SUCCEEDED"),
    ]
    assert bench.api.effects == {"c1": 1, "c2": 1}
    assert first.assigned


async def test_a_call_in_flight_ends_after_another_owner_settled_its_command(make: Make) -> None:
    """The answer says that nothing happened: to try again would be a second start."""
    bench = await make()
    one, two = missions(2)
    called, refuse = asyncio.Event(), asyncio.Event()
    hang, hung = asyncio.Event(), asyncio.Event()

    async def held(*_: object) -> Exception:
        called.set()
        await refuse.wait()
        return httpx.ConnectError("refused")

    async def freeze(_: str, records: Sequence[Record]) -> None:
        if "intent" in await bench.kinds(records) and not hung.is_set():
            hung.set()
            await hang.wait()
            raise TransactionLost("no answer")

    bench.api.script = held
    bench.begin()
    bench.send(start("c1", one))
    await asyncio.wait_for(called.wait(), 60)
    bench.kafka.hook = freeze
    bench.send(start("c2", two))
    await asyncio.wait_for(hung.wait(), 60)
    bench.api.script = None
    bench.begin()
    await bench.final("c1")
    await bench.final("c2")
    bench.process.assigned = set()
    epochs = bench.kafka.epochs["mission-bridge.missions.commands.0"]
    hang.set()
    await until(lambda: bench.kafka.epochs["mission-bridge.missions.commands.0"] > epochs)
    bench.send(start("c3", two))
    await bench.final("c3")
    refuse.set()
    bench.send(start("c4", one))
    await bench.final("c4")
    results = await bench.read(RESULTS)
    assert {r["command_id"]: r["status"] for r in results if r["final"]} == {
        "c1": "IN_DOUBT",
        "c2": "SUCCEEDED",
        "c3": "SUCCEEDED",
        "c4": "SUCCEEDED",
    }
    assert bench.api.effects == {"c2": 1, "c3": 1, "c4": 1}


async def test_a_partition_that_goes_away_is_drained_and_may_come_back(make: Make) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1"))
    await asyncio.wait_for(reached.wait(), 60)
    bench.process.assigned.clear()
    before = bench.clock.time
    await until(lambda: bench.clock.time > before + 1)
    go_on.set()
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    await until(lambda: not bench.commands.status()["partitions"])
    assert not bench.health.reasons
    bench.send(start("c2"))
    bench.process.assigned.add(AT)
    results = await bench.results(2)
    assert [r["command_id"] for r in results] == ["c1", "c2"]


async def test_a_partition_that_went_away_with_its_producer_lost_ends_at_once(
    make: Make,
) -> None:
    """Its outcomes wait for a producer that it must not open: the new owner settles them."""
    bench = await make()

    async def hook(at: str, records: Sequence[Record]) -> None:
        if at == "before" and "done" in await bench.kinds(records):
            bench.process.assigned.clear()
            raise TransactionLost("nobody knows")

    bench.kafka.hook = hook
    bench.begin()
    bench.send(start("c1"))
    await until(lambda: bench.api.calls)
    await until(lambda: not bench.commands.status()["partitions"])
    assert AT in bench.commands._stand_by, "it was cancelled after the whole drain"
    assert not bench.bridge.done()
