"""Settings of the bridge in its checkpoint: its tools go by them, not by their own shell's."""

from __future__ import annotations

import dataclasses

import pytest
from source_bench import Bench
from source_repairs import forget, keys
from source_state import filled, plan

from bridge.clock import SECOND
from bridge.config.models import SourceSettings
from bridge.source.checkpoint.position import Configured
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.repair import repair
from bridge.source.tools.reset import Start, reset

MOST = Configured(7200 * SECOND, 7200 * SECOND, 600 * SECOND)


def elsewhere(bench: Bench) -> SourceAccess:
    """The source as it is seen from a shell that has none of the bridge's settings."""
    return dataclasses.replace(bench.view(), source=SourceSettings())


async def test_a_tool_tells_the_watermark_of_the_bridge_whatever_its_own_settings() -> None:
    bench = Bench(events=200, past=3000, lateness=10, lateness_max=20, audit_interval=7)
    await bench.catch_up()
    view = elsewhere(bench)
    seen = await view.desk.look()
    assert view.configured(seen) == Configured(10 * SECOND, 20 * SECOND, 7 * SECOND)
    assert view.lateness(seen) == bench.poller.lateness
    of_bridge = bench.poller.checkpoint.position.complete_until(bench.poller.lateness)
    assert of_bridge is not None
    assert seen.position.complete_until(view.lateness(seen)) == of_bridge


async def test_other_settings_are_told_after_a_restart_though_nothing_is_new() -> None:
    bench = Bench(events=50, past=600, lateness=10, lateness_max=20)
    await bench.catch_up()
    bench.settings = bench.settings.model_copy(update={"lateness": 15.0})
    bench.start()
    await bench.later()
    view = elsewhere(bench)
    assert view.lateness(await view.desk.look()) == 15 * SECOND
    bench.assert_exact()


def test_a_checkpoint_without_settings_is_read() -> None:
    state, topic = filled()
    assert topic.read().configured is None
    told = state.plan([], [], state.position, server_time=1, keep=0, configured=MOST)
    topic.commit(state, told)
    assert topic.read() == state
    assert topic.read().configured == MOST
    topic.commit(state, plan(state, []))
    assert topic.read().configured == MOST


@pytest.mark.parametrize("start", ["earliest", "latest", 5])
async def test_a_reset_keeps_the_settings_of_the_bridge(start: Start) -> None:
    bench = Bench(events=50, past=600, lateness=10, lateness_max=20)
    await bench.catch_up()
    before = bench.topics.state().configured
    await reset(elsewhere(bench), start)
    assert bench.topics.state().configured == before


async def test_a_repair_keeps_the_settings_of_the_bridge() -> None:
    bench = Bench(events=50, past=600, lateness=10, lateness_max=20)
    await bench.catch_up()
    before = bench.topics.state().configured
    forget(bench, *(key for key in keys(bench) if key.startswith("seg/")))
    made = await repair(elsewhere(bench), dry=False)
    assert made is not None
    assert bench.topics.state().configured == before
