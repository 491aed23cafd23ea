"""Order within a key, freedom between keys, and writes that share transactions."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Any

import httpx
import pytest
from commands_bench import RESULTS, STATE, Bench, Make, command, missions, start, until
from commands_world import BEGAN, RUN, run

from bridge.commands import limits, partition
from bridge.commands.brakes.brake import Brake, Scope, state
from bridge.commands.execution import Execution
from bridge.kafka.producer import Record


async def test_many_commands_share_transactions(make: Make) -> None:
    bench = await make(concurrency=100, max_starts_per_minute=1_000)
    for number, mission in enumerate(missions(200)):
        bench.send(start(f"c{number}", mission))
    bench.begin()
    await bench.results(200)
    written = [await bench.kinds(transaction) for transaction in bench.kafka.transactions]
    assert len(written) < 40
    assert max(kinds.count("intent") for kinds in written) > 20
    assert max(kinds.count("done") for kinds in written) > 10
    assert any("intent" in kinds and "done" in kinds for kinds in written)
    assert all(kinds.count("position") <= 1 for kinds in written)


async def test_results_and_position_are_in_one_transaction(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    (together,) = [t for t in bench.kafka.transactions if any(r.topic == RESULTS for r in t)]
    assert Counter(record.topic for record in together) == {RESULTS: 1, STATE: 2}
    assert await bench.kinds(together) == ["done", "position"]


async def test_effects_of_a_key_follow_the_order_of_the_topic(make: Make) -> None:
    bench = await make(partitions=3, max_starts_per_minute=1_000)
    keys = missions(7)
    expected = defaultdict(list)
    for number in range(140):
        mission = keys[number * 5 % 7]
        expected[mission].append(f"c{number}")
        bench.send(start(f"c{number}", mission))
    seen = defaultdict(list)

    def script(_: str, request: httpx.Request) -> None:
        mission = request.url.path.split("/")[4]
        seen[mission].append(bench.api.bodies[-1].split('bridge_command_id":"')[1].split('"')[0])

    bench.api.script = script
    bench.begin()
    await bench.results(140)
    assert seen == expected


async def test_a_slow_key_holds_up_nobody_else(make: Make) -> None:
    bench = await make(max_starts_per_minute=10_000)
    slow, quick = missions(2)
    go_on = asyncio.Event()

    async def wait(operation: str, request: httpx.Request) -> httpx.Response:
        await go_on.wait()
        return bench.api.carry_out(operation, request)

    def script(operation: str, request: httpx.Request) -> Any:
        return wait(operation, request) if slow in request.url.path else None

    bench.api.script = script
    bench.begin()
    for number in range(1_000):
        bench.send(start(f"s{number}", slow))
    bench.send(start("q1", quick))
    (result,) = await bench.results(1)
    assert result["command_id"] == "q1"
    assert bench.running()["position"] == 0
    bench.api.script = None
    go_on.set()
    await bench.results(1_001)
    assert set(bench.api.effects.values()) == {1}


async def test_no_more_commands_are_under_way_than_the_setting_says(make: Make) -> None:
    bench = await make(concurrency=3)
    under_way, most = 0, 0

    async def script(operation: str, request: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await bench.clock.sleep(0.5)
        under_way -= 1
        return bench.api.carry_out(operation, request)

    bench.api.script = script
    for number, mission in enumerate(missions(20)):
        bench.send(start(f"c{number}", mission))
    bench.begin()
    await bench.results(20)
    assert most == 3


async def test_commands_that_wait_for_the_fuse_leave_room_for_others(make: Make) -> None:
    """A cancel must get through while starts are held back."""
    bench = await make(concurrency=2, max_starts_per_minute=1)
    for number, mission in enumerate(missions(10)):
        bench.send(start(f"c{number}", mission))
    bench.send(command("cancel_run", "stop-it"))
    bench.begin()
    began = bench.clock.time
    await until(lambda: bench.api.effects["cancel"])
    assert bench.clock.time - began < 60
    await bench.results(11, deadline=30)
    assert bench.clock.time - began >= 9 * 60


async def test_the_fuse_holds_over_all_partitions_and_shows(make: Make) -> None:
    bench = await make(partitions=6, max_starts_per_minute=5)
    for number, mission in enumerate(missions(12)):
        bench.send(start(f"c{number}", mission))
    bench.begin()
    began = bench.clock.time
    await bench.results(5)
    status = bench.commands.status()
    assert len(status["partitions"]) == 6
    assert status["starts"] == {"last_minute": 5, "most": 5}
    await until(lambda: bench.commands.status()["held"]["fuse"] == 7)
    await bench.results(12)
    assert bench.clock.time - began >= 120
    assert bench.commands.status()["held"]["fuse"] == 0


async def test_a_low_rate_keeps_no_intent_waiting_until_it_is_stale(make: Make) -> None:
    """Others use the same budget: each request waits for five of theirs, 12 s at this rate."""
    bench = await make(rate=0.5)
    for number, mission in enumerate(missions(20)):
        bench.send(start(f"c{number}", mission))

    async def another() -> None:
        while True:
            await bench.budget.acquire()

    others = [asyncio.create_task(another(), name="commands-other") for _ in range(5)]
    bench.begin()
    results = await bench.results(20)
    assert {result["status"] for result in results} == {"SUCCEEDED"}
    kinds = await bench.kinds(bench.kafka.records(STATE))
    assert kinds.count("intent") == 20
    assert not any(other.done() for other in others)


async def test_a_crowded_partition_is_paused_and_read_on_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "MOST_WAITING", 10)
    bench = await make()
    go_on = asyncio.Event()

    async def wait(operation: str, request: httpx.Request) -> httpx.Response:
        await go_on.wait()
        return bench.api.carry_out(operation, request)

    bench.api.script = wait
    bench.begin()
    for number in range(15):
        bench.send(start(f"c{number}"))
    await until(lambda: bench.running().get("waiting") == 15)
    before = bench.clock.time
    for number in range(15, 30):
        bench.send(start(f"c{number}"))
    await until(lambda: bench.clock.time > before + 2)
    assert bench.running()["waiting"] == 15
    go_on.set()
    await bench.results(30)


async def turns(bench: Bench) -> None:
    """Let the command side take some turns."""
    before = bench.clock.time
    await until(lambda: bench.clock.time > before + 2)


@pytest.mark.parametrize("keys", [60, 1])
async def test_no_more_lanes_are_read_than_may_soon_run_but_all_behind_a_busy_key(
    make: Make, monkeypatch: pytest.MonkeyPatch, keys: int
) -> None:
    monkeypatch.setattr(partition, "MOST_READY", 10)
    monkeypatch.setattr(partition, "LANES_PER_SLOT", 1)
    bench = await make(concurrency=5)
    go_on = asyncio.Event()

    async def wait(operation: str, request: httpx.Request) -> httpx.Response:
        await go_on.wait()
        return bench.api.carry_out(operation, request)

    bench.api.script = wait
    bench.begin()
    for sent in range(0, 60, 15):
        for number in range(sent, sent + 15):
            bench.send(start(f"c{number}", missions(keys)[number % keys]))
        await turns(bench)
    assert (bench.running()["waiting"] == 60) == (keys == 1)
    go_on.set()
    assert len(await bench.results(60)) == 60


async def test_commands_that_a_brake_holds_are_passed_by_others_but_not_without_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "LANES_PER_SLOT", 1)
    monkeypatch.setattr(partition, "MOST_APART", 20)
    bench = await make(concurrency=5, max_starts_per_minute=1_000)
    bench.api.runs[RUN] = run(status="running")
    bench.begin()
    await bench.idle()
    brake = Brake("brake/start_run/*", Scope("start_run"), "me", BEGAN, None)
    bench.kafka.append(
        Record(STATE, 0, brake.key.encode(), bench.codec.encode(f"{STATE}-value", state(brake)))
    )
    await turns(bench)
    for number, mission in enumerate(missions(15)):
        bench.send(start(f"held{number}", mission))
    bench.send(command("pause_run", "passes"))
    assert (await bench.final("passes"))["status"] == "SUCCEEDED"
    for number, mission in enumerate(missions(60)[15:]):
        bench.send(start(f"more{number}", mission))
    await turns(bench)
    assert bench.commands.status()["held"]["brake"] == 25
    bench.kafka.append(Record(STATE, 0, brake.key.encode(), None))
    assert len(await bench.results(61)) == 61


async def test_a_partition_that_went_and_came_back_unseen_is_read_on(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    membership: Any = bench.commands._membership
    membership.pause(membership.assigned)
    membership.changed.set()
    bench.send(start("c2"))
    results = await bench.results(2)
    assert [result["command_id"] for result in results] == ["c1", "c2"]


async def test_a_process_without_partitions_is_ready_to_stand_by(make: Make) -> None:
    bench = await make()
    bench.begin(assigned=set())
    await until(lambda: not bench.health.reasons)
    status = bench.commands.status()
    assert (status["partitions"], status["results"]) == ({}, {})


async def test_the_status_shows_where_the_partitions_are(make: Make) -> None:
    bench = await make(partitions=2)
    bench.api.runs[RUN] = run(status="paused")
    bench.begin()
    bench.send(command("pause_run", "c1"))
    await bench.results(1)
    await bench.idle()
    status = bench.commands.status()
    assert status["results"] == {"SUCCEEDED": 1}
    assert set(status["partitions"]) == {"0", "1"}
    assert sorted(part["position"] for part in status["partitions"].values()) == [0, 1]
    assert all(part["open"] for part in status["partitions"].values())


async def test_only_so_many_lanes_run_and_each_gets_its_turn(make: Make) -> None:
    bench = await make(concurrency=2, max_starts_per_minute=10_000)
    go_on = asyncio.Event()

    async def wait(operation: str, request: httpx.Request) -> httpx.Response:
        await go_on.wait()
        return bench.api.carry_out(operation, request)

    bench.api.script = wait
    bench.begin()
    for number, mission in enumerate(missions(300)):
        bench.send(start(f"c{number}", mission))
    await until(lambda: bench.running().get("waiting") == 300)

    def lanes() -> int:
        return sum("-lane" in task.get_name() for task in asyncio.all_tasks())

    assert lanes() == 2 * partition.LANES_PER_SLOT
    go_on.set()
    await bench.results(300)


async def test_lanes_that_are_held_back_take_nobodys_place(make: Make) -> None:
    bench = await make(concurrency=1, max_starts_per_minute=1)
    bench.begin()
    for number, mission in enumerate(missions(50)):
        bench.send(start(f"c{number}", mission))
    bench.send(command("log_event", "last", {"type": "custom", "summary": "x"}))
    results = await bench.results(2)
    assert "last" in {result["command_id"] for result in results}


async def test_what_a_lifted_brake_held_goes_on_in_portions(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it in one turn of the loop would keep the ops port waiting."""
    monkeypatch.setattr(partition, "LANES_PER_SLOT", 20)
    bench = await make(concurrency=32, max_starts_per_minute=1_000)
    bench.api.runs[RUN] = run(status="running")
    bench.begin()
    await bench.idle()
    brake = Brake("brake/start_run/*", Scope("start_run"), "me", BEGAN, None)
    encoded = bench.codec.encode(f"{STATE}-value", state(brake))
    bench.kafka.append(Record(STATE, 0, brake.key.encode(), encoded))
    await turns(bench)
    for number, mission in enumerate(missions(300)):
        bench.send(start(f"held{number}", mission))
    await until(lambda: bench.commands.status()["held"]["brake"] == 300)

    went_on: Counter[int] = Counter()
    loop: Any = asyncio.get_running_loop()
    attempt, run_once = Execution._attempt, loop._run_once
    turn = 0

    def counting() -> None:  # a callback that counts would keep simulated time from going on
        nonlocal turn
        turn += 1
        run_once()

    async def counted(one: Execution) -> Any:
        went_on[turn] += 1
        return await attempt(one)

    monkeypatch.setattr(Execution, "_attempt", counted)
    monkeypatch.setattr(loop, "_run_once", counting)
    bench.kafka.append(Record(STATE, 0, brake.key.encode(), None))
    await until(lambda: went_on.total() >= 300)
    assert max(went_on.values()) <= 2 * limits.AT_ONCE
