"""Where a partition is begun, and which ledgers and topics are refused."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndTimestamp
from commands_bench import COMMANDS, STATE, Make, start, until
from structlog.testing import capture_logs

from bridge.errors import StateError
from bridge.kafka.producer import Record

AT = TopicPartition(COMMANDS, 0)


async def test_commands_that_retention_took_before_they_were_read_are_told(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    await bench.end()
    for number in range(2, 5):
        bench.send(start(f"c{number}"))
    bench.kafka.expire(AT, 3)
    with capture_logs() as logs:
        bench.begin()
        results = await bench.results(2)
    assert [result["command_id"] for result in results] == ["c1", "c4"]
    gone = next(entry for entry in logs if entry["event"] == "commands_gone")
    assert (gone["first"], gone["last"]) == (1, 2)


async def test_another_partition_count_is_refused(make: Make) -> None:
    bench = await make()
    bench.begin()
    bench.send(start("c1"))
    await bench.results(1)
    await bench.end()
    bench.kafka.counts[COMMANDS] = 2
    bench.begin()
    with pytest.raises(StateError, match="has 2 partitions, its ledger was written for 1"):
        await asyncio.wait_for(bench.bridge, 60)


async def test_a_topic_that_was_created_anew_is_refused(make: Make) -> None:
    bench = await make()
    bench.begin()
    for number in range(5):
        bench.send(start(f"c{number}"))
    await bench.results(5)
    await bench.end()
    bench.kafka.logs[AT].clear()
    bench.kafka.ends[AT] = 2
    bench.begin()
    with pytest.raises(StateError, match="read up to offset 5, but it ends at 2"):
        await asyncio.wait_for(bench.bridge, 60)


async def test_a_foreign_record_in_the_ledger_is_refused(make: Make) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, b"c1", b"\x00nonsense"))
    bench.begin()
    with pytest.raises(StateError, match="only the bridge may write there"):
        await asyncio.wait_for(bench.bridge, 60)


async def test_a_first_start_at_the_latest_skips_the_past_and_only_that(make: Make) -> None:
    bench = await make(start="latest")
    bench.send(start("old"))
    bench.begin()
    await until(lambda: bench.running().get("position") == 1)
    await bench.crash()
    bench.send(start("new"))
    bench.begin()
    (result,) = await bench.results(1)
    assert result["command_id"] == "new"


async def test_a_first_start_at_a_time_begins_there(make: Make) -> None:
    bench = await make(start="2026-02-25T06:13:22Z")
    bench.send(start("old"))
    new = bench.send(start("new"))
    bench.kafka.found_by_time[AT] = OffsetAndTimestamp(new, 0)
    bench.begin()
    (result,) = await bench.results(1)
    assert result["command_id"] == "new"


async def test_claims_are_forgotten_once_they_were_read(make: Make) -> None:
    bench = await make()
    for _ in range(3):
        bench.begin()
        await until(lambda: bench.running().get("open"))
        await bench.crash()
    last = {record.key: record.value for record in bench.kafka.records(STATE)}
    claims = [value for key, value in last.items() if key is not None and key.startswith(b"claim/")]
    assert claims == [None, None, None]
