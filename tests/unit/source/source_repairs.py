"""Checkpoints that are damaged and rebuilt."""

from __future__ import annotations

from typing import Any

from source_bench import LAYOUT, STATE, Bench

from bridge.kafka.producer import Record
from bridge.source.tools.repair import Repair, repair


async def filled(**options: Any) -> Bench:
    """Return a source that has published some hundred events in several transactions."""
    bench = Bench(events=300, past=3600, **options)
    bench.topics.kafka.now = bench.clock.now
    await bench.catch_up()
    for _ in range(4):
        bench.api.insert(5)
        bench.api.insert(1, ago=30)
        await bench.later(20)
    return bench


def forget(bench: Bench, *keys: str) -> None:
    """Lose records of the checkpoint for good, as when somebody deletes them."""
    log = bench.topics.kafka.logs[STATE]
    log[:] = [record for record in log if (record.key or b"").decode() not in keys]


def put(bench: Bench, key: str, value: bytes) -> None:
    bench.topics.kafka.append(Record(LAYOUT.checkpoint, 0, key.encode(), value))


def keys(bench: Bench) -> list[str]:
    """The keys that the checkpoint has."""
    live = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
    return [(key or b"").decode() for key, value in live.items() if value is not None]


async def repaired(bench: Bench) -> Repair:
    made = await repair(bench.view(), dry=False)
    assert made is not None
    return made


async def goes_on(bench: Bench) -> None:
    """The next owner reads what was rebuilt and loses and doubles nothing."""
    bench.start()
    bench.api.insert(3)
    bench.api.insert(2, ago=400)
    await bench.later()
    bench.api.insert(1)
    await bench.later(1000)
    bench.assert_exact()
