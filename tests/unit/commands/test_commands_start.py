"""Where a partition is begun, and which ledgers and topics are refused."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndTimestamp
from commands_bench import COMMANDS, STATE, Make, missions, start, until
from structlog.testing import capture_logs

from bridge.errors import StateError
from bridge.kafka.partition import murmur2
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


@pytest.mark.parametrize("key", [b"c1", b"pos/0"])
async def test_a_partition_whose_ledger_cannot_be_read_waits_and_the_others_go_on(
    make: Make, key: bytes
) -> None:
    bench = await make(partitions=2)
    bench.kafka.append(Record(STATE, 0, key, b"\x00nonsense"))
    bench.begin()
    await until(lambda: "only the bridge may write there" in str(bench.health.reasons))
    ours = {murmur2(mission.encode(), 2): mission for mission in missions(9)}
    bench.send(start("c0", ours[0]))
    bench.send(start("c1", ours[1]))
    (result,) = await bench.results(1)
    assert (result["command_id"], result["status"]) == ("c1", "SUCCEEDED")
    assert repr(key.decode()) in str(bench.health.reasons)
    bench.kafka.append(Record(STATE, 0, key, None))
    assert (await bench.final("c0"))["status"] == "SUCCEEDED"
    assert bench.api.effects == {"c0": 1, "c1": 1}
    assert not bench.health.reasons


async def test_what_a_later_record_has_replaced_need_not_be_readable(make: Make) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, b"c1", b"\x00nonsense"))
    bench.kafka.append(Record(STATE, 0, b"c1", None))
    bench.begin()
    bench.send(start("c1"))
    assert (await bench.final())["status"] == "SUCCEEDED"


@pytest.mark.parametrize(
    "key",
    [
        None,
        b"",
        b"claim/0/x",
        b"claim/1/x",
        b"pos/1",
        b"reply/0/x",
        b"brake/x/y/z",
        b"a b",
        b"\xff/",
    ],
)
async def test_rubbish_under_a_key_that_tells_of_no_command_keeps_no_partition_back(
    make: Make, key: bytes | None
) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, key, b"\x00nonsense"))
    bench.begin()
    await until(lambda: bench.running().get("position") == 0)
    assert not any("ledger" in reason for reason in bench.health.reasons)


async def test_a_bridge_ends_though_a_ledger_cannot_be_read(make: Make) -> None:
    bench = await make()
    bench.kafka.append(Record(STATE, 0, b"c1", b"\x00nonsense"))
    bench.begin()
    await until(lambda: "only the bridge may write there" in str(bench.health.reasons))
    before = bench.clock.time
    await bench.end()
    assert bench.clock.time - before < 60


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
