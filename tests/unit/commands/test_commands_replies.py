"""Copies of results where commands ask for them: only where allowed, and never a wedge."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from commands_bench import COMMANDS, RESULTS, STATE, Bench, Make, missions, start, until
from commands_world import MISSION, refusal

from bridge.commands.ledger.copies import MOST_TRIES, RETRY
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


async def copied(bench: Bench, count: int, topic: str = MINE) -> list[Any]:
    """Wait for so many copies and return them."""
    await until(lambda: len(bench.kafka.records(topic)) >= count)
    return bench.kafka.records(topic)


def owed(bench: Bench) -> int:
    """Count the copies that the ledger says are owed."""
    newest = {record.key: record.value for record in bench.kafka.records(STATE)}
    return sum((key or b"").startswith(b"reply/") for key, value in newest.items() if value)


def refuse(bench: Bench, topic: str, error: type[Again]) -> list[str]:
    """Let topics that begin so refuse what they are sent; returns the list of what was refused."""
    refused: list[str] = []

    async def hook(at: str, records: Any) -> None:
        if at == "before" and any(record.topic.startswith(topic) for record in records):
            refused.append(at)
            raise error("not authorized")

    bench.kafka.hook = hook
    return refused


@pytest.mark.parametrize("topic", ["missions.replies", MINE])
async def test_a_result_is_copied_outside_of_its_transaction(make: Make, topic: str) -> None:
    bench = await make()
    bench.kafka.counts[topic] = 7
    bench.begin()
    bench.send(start("c1"), headers=asking(topic))
    (copy,) = await copied(bench, 1, topic)
    (result,) = bench.kafka.records(RESULTS)
    assert (copy.key, copy.value, copy.headers) == (result.key, result.value, result.headers)
    assert copy.headers == (
        ("correlation_id", b"x-1"),
        ("traceparent", b"00-aa-bb-01"),
        ("bridge_result_id", b"0-0-final"),
    )
    assert copy.partition == murmur2(MISSION.encode(), 7)
    (together,) = [t for t in bench.kafka.transactions if any(r.topic == topic for r in t)]
    assert {record.topic for record in together} == {topic}
    await until(lambda: owed(bench) == 0)


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
    await copied(bench, 2)


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
    await copied(bench, 1)


async def test_another_count_of_partitions_is_noticed(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await copied(bench, 1)
    bench.kafka.counts[MINE] = 7
    then = bench.clock.time + 61
    await until(lambda: bench.clock.time > then)
    bench.send(start("c2"), headers=asking(MINE))
    assert {record.partition for record in await copied(bench, 2)} == {
        0,
        murmur2(MISSION.encode(), 7),
    }


async def test_a_listing_that_fails_costs_the_copy_and_nothing_else(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> Any:
        raise KafkaAway("listing topics: no answer within 15 s")

    monkeypatch.setattr("bridge.commands.ledger.replies.usable", away)
    bench = await make()
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    assert why_not(bench) == "listing topics: no answer within 15 s"


@pytest.mark.parametrize("error", [KafkaAway, TransactionLost])
async def test_a_topic_that_cannot_be_written_delays_no_result_and_is_given_up(
    make: Make, error: type[Again]
) -> None:
    bench = await make()
    bench.kafka.counts |= {MINE: 1, "missions.replies.good": 1}
    bad = refuse(bench, MINE, error)
    bench.begin()
    for number, mission in enumerate(missions(5)):
        bench.send(start(f"c{number}", mission), headers=asking(MINE))
    bench.send(start("c9"), headers=asking("missions.replies.good"))
    results = await bench.results(6)
    assert {result["status"] for result in results} == {"SUCCEEDED"}
    await copied(bench, 1, "missions.replies.good")
    await until(lambda: owed(bench) == 0)
    assert len(bad) >= MOST_TRIES
    assert bench.clock.monotonic() > (MOST_TRIES - 1) * RETRY
    bench.send(start("c10"), headers=asking(MINE))
    await bench.results(7)
    assert why_not(bench) == "copies to this topic failed lately"
    assert set(bench.api.effects.values()) == {1}
    assert not bench.bridge.done()
    assert not bench.kafka.records(MINE)


async def test_many_topics_that_refuse_never_make_the_bridge_give_up(make: Make) -> None:
    bench = await make()
    topics = [f"missions.replies.{number}" for number in range(5)]
    bench.kafka.counts |= dict.fromkeys(topics, 1)
    refused = [refuse(bench, "missions.replies.", TransactionLost)]
    bench.begin()
    for number, topic in enumerate(topics):
        bench.send(start(f"c{number}"), headers=asking(topic))
    await bench.results(5)
    await until(lambda: len(refused[0]) >= 3 * len(topics))
    assert bench.kafka.epochs["mission-bridge.missions.commands.0"] == 1
    assert not bench.bridge.done()


async def test_a_copy_that_is_refused_keeps_no_other_copy_from_its_topic(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1

    async def hook(at: str, records: Any) -> None:
        sizes = [len(record.value) for record in records if record.topic == MINE]
        if at == "before" and any(size > 2_000 for size in sizes):
            raise TransactionLost("the message is too large")

    bench.kafka.hook = hook
    bench.api.script = lambda *_: httpx.Response(
        422, json={"errors": [{"code": "1", "title": "x" * 3_000}]}
    )
    bench.begin()
    bench.send(start("large"), headers=asking(MINE))
    await bench.results(1)
    bench.api.script = lambda *_: None
    bench.send(start("small"), headers=asking(MINE))
    await bench.results(2)
    (copy,) = await copied(bench, 1)
    assert b"small" in copy.value


async def test_a_copy_that_a_crash_prevented_is_made_by_the_next_owner(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    refuse(bench, MINE, KafkaAway)
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    assert owed(bench) == 1
    await bench.crash()
    bench.begin()
    (copy,) = await copied(bench, 1)
    assert copy.value == bench.kafka.records(RESULTS)[0].value
    await until(lambda: owed(bench) == 0)
    assert len(bench.kafka.records(RESULTS)) == 1


async def test_what_waits_to_be_copied_is_bounded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.commands.ledger.copies.MOST", 2)
    bench = await make()
    bench.kafka.counts[MINE] = 1
    refuse(bench, MINE, KafkaAway)
    bench.begin()
    for number in range(3):
        bench.send(start(f"c{number}"), headers=asking(MINE))
    await bench.results(3)
    why = [why_not(bench, number) for number in range(3)]
    assert why == [None, None, "too many copies wait to be written"]
    assert owed(bench) == 2


async def test_a_bridge_that_ends_makes_the_copies_that_it_can(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.results(1)
    await bench.end()
    assert len(bench.kafka.records(MINE)) == 1
    assert owed(bench) == 0


async def test_a_transaction_that_is_lost_once_keeps_its_copies(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    lost = bench.lose("done", written=False)
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await copied(bench, 1)
    assert lost
    assert why_not(bench) is None


async def test_the_copy_of_a_result_in_doubt_precedes_the_final_one(make: Make) -> None:
    bench = await make()
    bench.kafka.counts[MINE] = 1
    answers = [refusal(500)]
    bench.api.script = lambda name, _: answers.pop() if name == "start" and answers else None
    bench.begin()
    bench.send(start("c1"), headers=asking(MINE))
    await bench.final("c1")
    copies = await copied(bench, 2)
    assert [dict(copy.headers)["bridge_result_id"] for copy in copies] == [
        b"0-0-in_doubt",
        b"0-0-final",
    ]
