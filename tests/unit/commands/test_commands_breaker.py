"""The breaker: a topic that turns invalid is not buried record by record."""

from __future__ import annotations

from typing import Any

import pytest
from commands_bench import LETTERS, STATE, Bench, Make, hold_call, start, until
from commands_world import BEGAN

from bridge.commands.brakes import breaker as breaking
from bridge.commands.brakes.brake import BREAKER, Brake, Scope, state
from bridge.commands.brakes.breaker import Breaker
from bridge.errors import KafkaAway
from bridge.kafka.producer import Record


async def unready(bench: Bench, why: str) -> None:
    await until(lambda: why in bench.health.reasons.get("commands", ""))


def test_the_breaker_trips_when_more_than_a_fifth_died() -> None:
    breaker = Breaker()
    for offset in range(800):
        assert breaker.count(0, offset, dead=False) is None
    tripped = [breaker.count(0, offset, dead=True) for offset in range(800, 1_001)]
    assert tripped[:200] == [None] * 200
    assert tripped[200] == "201 of the last 1000 records became dead letters"
    assert breaker.count(0, 1_001, dead=True) is None


def test_the_breaker_concludes_nothing_from_few_dead_letters() -> None:
    breaker = Breaker()
    assert [breaker.count(0, offset, dead=True) for offset in range(199)] == [None] * 199
    assert breaker.count(0, 199, dead=True) == "200 of the last 200 records became dead letters"


async def test_a_topic_that_turns_invalid_is_not_buried(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "FEWEST", 20)
    bench = await make()
    for number in range(100):
        bench.send(b"rubbish", key=str(number).encode())
    bench.begin()
    await bench.letters(20)
    await unready(bench, "20 of the last 20 records became dead letters")
    (last,) = [t for t in bench.kafka.transactions if any(r.key == BREAKER.encode() for r in t)]
    assert {LETTERS, STATE} == {record.topic for record in last}

    await bench.crash()
    bench.begin()
    await unready(bench, "dead letters")
    then = bench.clock.time + 3
    await until(lambda: bench.clock.time >= then)
    assert len(bench.kafka.records(LETTERS)) == 20


async def test_once_resumed_all_that_waits_is_taken_up_and_only_what_comes_later_counts(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "FEWEST", 20)
    bench = await make(partitions=3)
    for number in range(100):
        bench.send(b"rubbish", key=str(number).encode())
    bench.begin()
    await bench.letters(20)
    await unready(bench, "dead letters")
    for number in range(300):
        bench.send(b"more rubbish, while all are asleep", key=str(number).encode())

    bench.kafka.append(Record(STATE, 0, BREAKER.encode(), None))
    await bench.letters(400)
    await until(lambda: not bench.health.reasons)

    for number in range(30):
        bench.send(b"rubbish again", key=str(number).encode())
    await bench.letters(420)
    await unready(bench, "20 of the last 20 records became dead letters")
    then = bench.clock.time + 3
    await until(lambda: bench.clock.time >= then)
    assert len(bench.kafka.records(LETTERS)) == 420


async def test_records_that_waited_for_the_registry_are_not_buried_all_at_once(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "FEWEST", 20)
    bench = await make()
    bench.begin()
    bench.registry_cut = True
    for number in range(100):
        bench.send(b"\x00\x7f\x00\x00\x01 from an unknown writer", key=str(number).encode())
    await until(lambda: bench.running().get("waiting") == 100)
    bench.registry_cut = False
    await unready(bench, "20 of the last 20 records became dead letters")
    then = bench.clock.time + 10
    await until(lambda: bench.clock.time >= then)
    assert len(bench.kafka.records(LETTERS)) == 20


async def test_what_was_begun_goes_on_while_the_breaker_is_set(make: Make) -> None:
    bench = await make()
    reached, go_on = hold_call(bench)
    bench.begin()
    bench.send(start("c1"))
    await until(reached.is_set)
    await bench.crash()
    fields = state(Brake(BREAKER, Scope(), "the breaker", BEGAN, "rubbish"))
    value = bench.codec.encode(f"{STATE}-value", fields)
    bench.kafka.append(Record(STATE, 0, BREAKER.encode(), value))
    bench.send(start("c2"))
    bench.begin()
    await unready(bench, "rubbish")
    go_on.set()
    assert (await bench.final("c1"))["status"] == "SUCCEEDED"
    assert not bench.api.effects["c2"]


async def test_dead_letters_that_cannot_be_written_stop_the_partition(make: Make) -> None:
    bench = await make()

    async def hook(at: str, records: Any) -> None:
        if any(record.topic == LETTERS for record in records):
            raise KafkaAway("writing to the dead letters: refused")

    bench.kafka.hook = hook
    bench.send(b"rubbish", key=b"k")
    bench.begin()
    await unready(bench, "refused")
    then = bench.clock.time + 60
    await until(lambda: bench.clock.time >= then)
    assert not bench.kafka.records(LETTERS)
    assert (
        bench.commands._held[next(iter(bench.commands._held))].partition.journal.position.low == 0
    )
    bench.kafka.hook = None
    await bench.letters(1)
    await bench.idle()
