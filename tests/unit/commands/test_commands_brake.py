"""The brake: what it holds, from when on, and that it survives."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from commands_bench import STATE, Bench, Make, command, hold_call, missions, start, until
from commands_world import BEGAN, MISSION
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import SECOND, utc
from bridge.commands.brakes.brake import Brake, Brakes, Scope, state
from bridge.commands.state_record import VERSION
from bridge.errors import KafkaAway
from bridge.kafka.producer import Record


def brake(verb: str | None = None, mission_id: str | None = None) -> Brake:
    scope = Scope(verb, mission_id)
    return Brake(scope.key, scope, "ann@host", BEGAN, "a test")


def pull(bench: Bench, brake: Brake, version: int | None = None) -> None:
    """Write a brake as the command line does."""
    fields = state(brake) | ({} if version is None else {"version": version})
    value = bench.codec.encode(f"{STATE}-value", fields)
    bench.kafka.append(Record(STATE, 0, brake.key.encode(), value))


def lift(bench: Bench, *keys: str) -> None:
    for key in keys:
        bench.kafka.append(Record(STATE, 0, key.encode(), None))


async def held(bench: Bench, count: int) -> None:
    await until(lambda: bench.commands.status()["held"]["brake"] == count)


async def later(bench: Bench, seconds: float = 3.0) -> None:
    """Let simulated time go on."""
    then = bench.clock.time + seconds
    await until(lambda: bench.clock.time >= then)


VERBS = st.sampled_from([None, "start_run", "cancel_run"])
IDS = st.sampled_from([None, *missions(2)])


@given(st.sets(st.tuples(VERBS, IDS)), VERBS.filter(bool), IDS)
def test_a_command_is_held_by_each_brake_whose_scope_it_is_in(
    scopes: set[tuple[str | None, str | None]], verb: str, mission_id: str | None
) -> None:
    brakes = Brakes()
    brakes.know(None)
    for scope in scopes:
        brakes.put(brake(*scope))
    expected = any(
        (its is None or its == verb) and (of is None or of == mission_id) for its, of in scopes
    )
    assert brakes.holds(verb, mission_id) == expected


def test_a_mission_is_the_same_in_capitals() -> None:
    brakes = Brakes()
    brakes.know(None)
    brakes.put(brake(None, MISSION.upper()))
    assert brakes.holds("start_run", MISSION)


def test_everything_is_held_until_the_brakes_are_known() -> None:
    brakes = Brakes()
    assert brakes.holds("start_run", None)
    brakes.know(None)
    assert not brakes.holds("start_run", None)


async def test_what_is_held_waits_and_goes_on_when_the_brake_is_lifted(make: Make) -> None:
    bench = await make()
    bench.begin()
    pull(bench, brake("start_run"))
    await until(lambda: bench.commands.status()["brakes"])
    bench.send(start("c1"))
    bench.send(command("cancel_run", "c2"))
    (result,) = await bench.results(1)
    assert result["command_id"] == "c2"
    await held(bench, 1)
    assert not bench.health.reasons
    assert not bench.api.effects["c1"]
    lift(bench, brake("start_run").key)
    assert [r["command_id"] for r in await bench.results(2)] == ["c2", "c1"]
    assert bench.commands.status()["held"]["brake"] == 0


async def test_the_status_says_who_holds_what_since_when_and_why(make: Make) -> None:
    bench = await make()
    bench.begin()
    pull(bench, brake("start_run", MISSION))
    await until(lambda: bench.commands.status()["brakes"])
    assert bench.commands.status()["brakes"] == [
        {
            "holds": f"start_run of mission {MISSION}",
            "verb": "start_run",
            "mission_id": MISSION,
            "since": utc(BEGAN),
            "set_by": "ann@host",
            "reason": "a test",
        }
    ]


async def test_a_brake_survives_a_restart(make: Make) -> None:
    bench = await make()
    bench.begin()
    pull(bench, brake())
    bench.send(start("c1"))
    await held(bench, 1)
    await bench.crash()
    bench.begin()
    await held(bench, 1)
    await later(bench)
    assert not bench.api.calls
    lift(bench, brake().key)
    await bench.results(1)
    assert bench.api.effects["c1"] == 1


async def test_nothing_is_carried_out_before_the_brakes_are_read(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make()

    async def silent(*_: object, **__: object) -> Any:
        await asyncio.Event().wait()
        yield

    with monkeypatch.context() as patch:
        patch.setattr("bridge.commands.brakes.brake.follow", silent)
        bench.send(start("c1"))
        bench.begin()
        await held(bench, 1)
        assert "held back" in bench.health.reasons["commands"]
        await later(bench)
    assert not bench.api.calls


async def test_brakes_that_cannot_be_read_any_more_hold_everything(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)

    async def away(*_: object, **__: object) -> Any:
        if bench.partitions:
            raise KafkaAway("no answer to fetches")
        yield

    with monkeypatch.context() as patch:
        patch.setattr("bridge.commands.brakes.brake.follow", away)
        bench.kafka.away = True
        await until(lambda: bench.commands._shared.brakes.trouble)
        bench.kafka.away = False
        bench.send(start("c2"))
        await held(bench, 1)
        assert "no answer to fetches" in bench.health.reasons["commands"]
    await bench.results(2)


async def test_a_brake_that_was_lifted_without_trace_does_not_stay_set(make: Make) -> None:
    """Compaction removes tombstones a day later: an outage may hide that a brake was lifted."""
    bench = await make()
    bench.begin()
    pull(bench, brake())
    bench.send(start("c1"))
    await held(bench, 1)
    bench.kafka.away = True
    await until(lambda: bench.commands._shared.brakes.trouble)
    for log in bench.kafka.logs.values():
        log[:] = [record for record in log if record.key != brake().key.encode()]
    bench.kafka.away = False
    await bench.results(1)


async def test_a_request_whose_first_byte_is_not_written_is_stopped(make: Make) -> None:
    bench = await make()
    bench.begin()
    await until(lambda: not bench.health.reasons)
    acquire = bench.budget.acquire

    async def slow() -> None:
        pull(bench, brake())
        await bench.clock.sleep(2.0)
        await acquire()

    bench.budget.acquire = slow  # type: ignore[method-assign]
    bench.send(start("c1"))
    await held(bench, 1)
    assert not bench.api.calls
    kinds = await bench.kinds(bench.kafka.records(STATE))
    assert kinds.count("intent") == kinds.count("withdrawn") == 1
    bench.budget.acquire = acquire  # type: ignore[method-assign]
    lift(bench, brake().key)
    (result,) = await bench.results(1)
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 1)


async def test_a_command_that_is_held_expires_in_time(make: Make) -> None:
    bench = await make()
    bench.begin()
    pull(bench, brake())
    bench.send(start("c1", expires_at=bench.clock.now() + 20 * SECOND))
    (result,) = await bench.results(1)
    assert result["status"] == "EXPIRED"
    assert not bench.api.calls


async def test_looking_for_an_effect_goes_on_under_a_brake(make: Make) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1"))
    await until(reached.is_set)
    await bench.crash()
    go_on.set()
    pull(bench, brake())
    bench.begin()
    result = await bench.final("c1")
    assert (result["status"], bench.api.effects["c1"]) == ("SUCCEEDED", 1)


async def test_repeating_a_request_is_held(make: Make) -> None:
    bench = await make()
    bench.begin()
    await until(lambda: not bench.health.reasons)

    async def lose() -> Exception:
        pull(bench, brake())
        await bench.clock.sleep(2.0)
        return httpx.ReadTimeout("no answer")

    bench.api.script = lambda operation, _: lose() if operation == "cancel" else None
    bench.send(command("cancel_run", "c1"))
    await held(bench, 1)
    await later(bench)
    assert bench.api.calls.count("cancel") == 1
    bench.api.script = None
    lift(bench, brake().key)
    result = await bench.final("c1")
    assert (result["status"], result["attempts"]) == ("SUCCEEDED", 2)


async def test_a_brake_of_a_newer_bridge_holds_everything_until_it_is_gone(make: Make) -> None:
    bench = await make()
    pull(bench, brake("start_run"), version=VERSION + 1)
    bench.begin()
    bench.send(command("pause_run", "c1"))
    await held(bench, 1)
    assert "newer bridge" in str(bench.health.reasons)
    lift(bench, brake("start_run").key)
    assert (await bench.final("c1"))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("key", [b"brake/*/*", b"brake/start_run/*", b"brake/", b"brake/\xff/x"])
async def test_rubbish_among_the_brakes_holds_everything_until_it_is_lifted(
    make: Make, key: bytes
) -> None:
    bench = await make()
    bench.begin()
    await until(lambda: not bench.health.reasons)
    bench.kafka.append(Record(STATE, 0, key, b"rubbish"))
    await until(lambda: "cannot be read" in str(bench.health.reasons))
    bench.send(start("c1"))
    await held(bench, 1)
    assert not bench.api.calls
    bench.kafka.append(Record(STATE, 0, key, None))
    assert (await bench.final("c1"))["status"] == "SUCCEEDED"
    assert not bench.health.reasons


async def test_a_brake_set_anew_replaces_rubbish(make: Make) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, brake().key.encode(), b"rubbish"))
    pull(bench, brake("cancel_run"))
    bench.kafka.append(Record(STATE, 0, brake().key.encode(), None))
    bench.begin()
    bench.send(start("c1"))
    assert (await bench.final("c1"))["status"] == "SUCCEEDED"


async def test_a_held_command_does_not_keep_the_bridge_from_ending(make: Make) -> None:
    bench = await make()
    bench.begin()
    pull(bench, brake())
    bench.send(start("c1"))
    await held(bench, 1)
    before = bench.clock.time
    await bench.end()
    assert bench.clock.time - before < 5
