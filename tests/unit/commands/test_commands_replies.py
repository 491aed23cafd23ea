"""Copies of results where commands ask for them: only where allowed, and never a wedge."""

from __future__ import annotations

from typing import Any

import pytest
from commands_bench import COMMANDS, RESULTS, STATE, Bench, Make, missions, start, until
from commands_world import MISSION, refusal

from bridge.errors import Again, KafkaAway, TransactionLost
from bridge.kafka.partition import murmur2

MINE = "missions.replies.mine"


def asking(topic: str) -> tuple[tuple[str, bytes], ...]:
    return (
        ("correlation_id", b"x-1"),
        ("traceparent", b"00-aa-bb-01"),
        ("reply_topic", topic.encode()),
    )


def why_not(bench: Bench, number: int = -1) -> str | None:
    """Return what a result says of its missing copy."""
    why = dict(bench.kafka.records(RESULTS)[number].headers).get("bridge_reply_error")
    return None if why is None else why.decode()


@pytest.mark.parametrize("topic", ["missions.replies", MINE])
async def test_a_result_is_copied_in_the_same_transaction(make: Make, topic: str) -> None:
    bench = await make()
    bench.kafka.counts[topic] = 7
    bench.begin()
    bench.send(start("c1"), headers=asking(topic))
    await bench.results(1)
    (copy,) = bench.kafka.records(topic)
    (result,) = bench.kafka.records(RESULTS)
    assert (copy.key, copy.value, copy.headers) == (result.key, result.value, result.headers)
    assert copy.headers == (("correlation_id", b"x-1"), ("traceparent", b"00-aa-bb-01"))
    assert copy.partition == murmur2(MISSION.encode(), 7)
    (together,) = [t for t in bench.kafka.transactions if any(r.topic == topic for r in t)]
    assert {record.topic for record in together} == {topic, RESULTS, STATE}


@pytest.mark.parametrize(
    "topic",
    ["missions.commands", "missions.repliesx", "other.replies", "missions.replies.", "", "ü"],
)
async def test_no_copy_goes_where_none_may_or_can(make: Make, topic: str) -> None:
    bench = await make()
    bench.kafka.counts |= {"missions.repliesx": 1, "other.replies": 1}
    bench.begin()
    bench.send(start("c1"), headers=asking(topic))
    (result,) = await bench.results(1)
    assert result["status"] == "SUCCEEDED"
    assert why_not(bench)
    assert {at.topic for at in bench.kafka.logs} <= {COMMANDS, STATE, RESULTS}
    assert dict(bench.kafka.records(RESULTS)[0].headers)["correlation_id"] == b"x-1"


async def test_refusals_are_copied_as_well(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    bench.api.script = lambda *_: refusal(422)
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    bench.send(start("c1"), headers=asking(MINE))
    results = await bench.results(2)
    assert [result["status"] for result in results] == ["REJECTED", "DUPLICATE"]
    assert len(bench.kafka.records(MINE)) == 2


async def test_a_topic_that_is_made_later_is_found(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    assert why_not(bench) == "there is no such topic"
    bench.kafka.counts[MINE] = 1
    then = bench.clock.time + 6
    await until(lambda: bench.clock.time > then)
    bench.send(start("c2"), headers=asking(MINE))
    await bench.results(2)
    assert why_not(bench) is None
    assert len(bench.kafka.records(MINE)) == 1


async def test_another_count_of_partitions_is_noticed(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    bench.kafka.counts[MINE] = 7
    then = bench.clock.time + 61
    await until(lambda: bench.clock.time > then)
    bench.send(start("c2"), headers=asking(MINE))
    await bench.results(2)
    assert {record.partition for record in bench.kafka.records(MINE)} == {
        0,
        murmur2(MISSION.encode(), 7),
    }


async def test_a_listing_that_fails_costs_the_copy_and_nothing_else(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> Any:
        raise KafkaAway("listing topics: no answer within 15 s")

    monkeypatch.setattr("bridge.commands.replies.usable", away)
    bench = await make()
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    assert why_not(bench) == "listing topics: no answer within 15 s"


@pytest.mark.parametrize("error", [KafkaAway, TransactionLost])
async def test_a_topic_that_cannot_be_written_wedges_nothing(
    make: Make, error: type[Again]
) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    failures: list[str] = []

    async def hook(at: str, records: Any) -> None:
        if at == "before" and any(record.topic == MINE for record in records):
            failures.append(at)
            raise error("not authorized")

    bench.kafka.hook = hook
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    bench.send(start("c2", missions(1)[0]))
    results = await bench.results(2)
    assert {result["status"] for result in results} == {"SUCCEEDED"}
    assert len(failures) == 2
    told = {r["command_id"]: why_not(bench, n) for n, r in enumerate(results)}
    assert told == {"c1": "writing the copy failed", "c2": None}
    bench.send(start("c3"), headers=asking(MINE))
    await bench.results(3)
    assert why_not(bench) == "writing the copy failed"
    assert len(failures) == 2
    assert set(bench.api.effects.values()) == {1}


async def test_a_transaction_that_is_lost_once_keeps_its_copies(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    lost = bench.lose("done", written=False)
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    assert lost
    assert len(bench.kafka.records(MINE)) == 1
    assert why_not(bench) is None


async def test_the_copy_of_a_result_in_doubt_precedes_the_final_one(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    answers = [refusal(500)]
    bench.api.script = lambda name, _: answers.pop() if name == "start" and answers else None
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.final("c1")
    assert len(bench.kafka.records(MINE)) == len(bench.kafka.records(RESULTS)) == 2
