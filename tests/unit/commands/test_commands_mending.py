"""`repair --ledger`: what somebody else overwrote is put back, and nothing is done twice."""

from __future__ import annotations

import pytest
from commands_bench import STATE, Bench, Make, start, until
from commands_world import refusal
from support.fake_kafka import Process

from bridge.commands.ledger.mending import Mended, Mender
from bridge.kafka.producer import Record


async def mended(bench: Bench, *, dry: bool = False) -> Mended:
    kafka = Process(bench.kafka, bench.clock, set())
    mender = Mender(bench.settings, kafka, bench.codec, bench.clock)  # type: ignore[arg-type]
    made = Mended()
    await mender.mend(0, made, dry=dry)
    return made


@pytest.mark.parametrize("key", ["c1", "pos/0"])
async def test_what_was_overwritten_is_put_back_and_nothing_runs_twice(
    make: Make, key: str
) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    await bench.end()
    bench.kafka.append(Record(STATE, 0, key.encode(), b"rubbish"))
    there = len(bench.kafka.records(STATE))
    assert list((await mended(bench, dry=True)).back) == [(0, key)]
    assert len(bench.kafka.records(STATE)) == there
    bench.begin()
    await until(lambda: "repair --ledger" in str(bench.health.reasons))
    assert list((await mended(bench)).back) == [(0, key)]
    bench.send(start("c1"))
    results = await bench.results(2)
    assert results[1]["status"] == "DUPLICATE"
    assert bench.api.effects == {"c1": 1}


async def test_a_command_that_was_withdrawn_is_put_back_as_in_doubt(make: Make) -> None:
    bench = await make()
    frozen = bench.freeze("after", "withdrawn")
    answers = [refusal(429)]
    bench.api.script = lambda name, _: answers.pop() if name == "start" and answers else None
    bench.begin()
    bench.send(start("c1"))
    await frozen.wait()
    await bench.crash()
    bench.kafka.append(Record(STATE, 0, b"c1", b"rubbish"))
    assert (await mended(bench)).back == {(0, "c1"): "withdrawn"}
    bench.begin()
    assert (await bench.final("c1"))["status"] == "IN_DOUBT"
    assert not bench.api.effects


async def test_a_key_without_an_earlier_record_is_named_and_left(make: Make) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, b"c1", b"rubbish"))
    assert (await mended(bench)).lost == [(0, "c1")]
    assert bench.kafka.records(STATE)[0].value == b"rubbish"
