"""Comparing both sides of a source that is at work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from source_bench import LAYOUT, Bench

from bridge.source.checkpoint.state import Checkpoint
from bridge.source.takeover import Desk
from bridge.source.tools.reconcile import Report, RunName, reconcile

OWN = [TopicPartition(LAYOUT.events, number) for number in range(LAYOUT.event_partitions)]


async def compared(bench: Bench, run: RunName | None = None) -> Report:
    return await reconcile(bench.view(), OWN, since=None, run=run)


async def at_work(**options: Any) -> Bench:
    """Return a source whose past is known to be whole."""
    bench = Bench(events=300, past=3600, **options)
    await bench.catch_up()
    await bench.later(700)
    assert bench.topics.state().position.hole is None
    return bench


async def test_a_source_at_work_shows_no_difference() -> None:
    bench = await at_work()
    bench.api.insert(2)
    report = await compared(bench)
    counts = report.counts
    assert report.differences == []
    assert (counts.shown, counts.records, counts.pending) == (302, 300, 2)


async def test_what_is_published_while_both_sides_are_read_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An event that the API showed is on Kafka by the time that the watermark has passed it."""
    bench = await at_work()
    bench.api.insert(1, ago=100)
    look = Desk.look

    async def published_meanwhile(desk: Desk) -> Checkpoint:
        for _ in range(3):
            bench.api.insert(1)
            await bench.later(1000)
        return await look(desk)

    monkeypatch.setattr(Desk, "look", published_meanwhile)
    report = await compared(bench)
    assert report.until is not None
    assert (report.differences, report.counts.pending) == ([], 0)
    assert report.counts.not_shown == 3


async def test_an_event_that_came_too_late_is_missing_until_its_run_is_audited() -> None:
    bench = await at_work()
    run = bench.api.events()[0]["run_id"]
    (event,) = bench.api.insert(1, ago=3000, run_id=run)
    (difference,) = (await compared(bench)).differences
    assert (difference.kind, difference.event_id) == ("missing", event["event_id"])
    mission = bench.api.events()[0]["mission_id"]
    (difference,) = (await compared(bench, RunName(mission, run))).differences
    assert difference.event_id == event["event_id"]
    await bench.later(1000)
    assert (await compared(bench)).differences == []


async def test_what_happened_before_a_source_began_need_not_be_there() -> None:
    bench = await at_work(start="latest")
    bench.api.insert(2)
    await bench.later(2000)
    report = await compared(bench)
    assert report.differences == []
    assert (report.counts.before_start, report.counts.records) == (300, 2)


async def test_a_rate_limit_is_waited_for() -> None:
    bench = await at_work()
    refusals = iter(range(8))
    refused = httpx.Response(429, headers={"Retry-After": "20"}, json={"errors": []})
    bench.api.script = lambda _: refused if next(refusals, None) is not None else None
    before = bench.clock.monotonic()
    assert (await compared(bench)).counts.shown == 300
    assert bench.clock.monotonic() > before + 8 * 20 * 0.9
