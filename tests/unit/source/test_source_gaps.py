"""Where sweeps cannot see: below a clock that was set back, and behind a cache."""

from __future__ import annotations

import httpx
import pytest
from source_bench import Bench

from bridge.clock import SECOND, Micros
from bridge.source.checkpoint import gaps
from bridge.source.checkpoint.position import Hole, Position

NOW: Micros = 1_773_057_600 * SECOND
W: Micros = 900 * SECOND
CAP: Micros = 7200 * SECOND


def out_of_reach(behind: int, lateness: Micros = W, kept_from: Micros | None = None) -> Hole | None:
    """What is, while the server's clock is so many seconds behind the frontier."""
    position = Position(frontier=NOW, kept_from=kept_from)
    return gaps.out_of_reach(position, NOW - behind * SECOND, lateness, CAP)


@pytest.mark.parametrize("behind", [-3600, 0, 1, 6300])
def test_sweeps_reach_what_a_clock_stamps_that_is_little_behind(behind: int) -> None:
    assert out_of_reach(behind) is None


def test_a_clock_that_is_far_behind_stamps_events_where_no_sweep_reads() -> None:
    assert out_of_reach(6301) == Hole(NOW - CAP - SECOND, NOW - CAP)


def test_what_sweeps_reach_ends_where_digests_are_expired() -> None:
    assert out_of_reach(3000, kept_from=NOW - 3000 * SECOND) == Hole(
        NOW - 3900 * SECOND, NOW - 3000 * SECOND
    )


def test_dates_of_whole_seconds_are_no_step_however_wide_the_window_is() -> None:
    assert out_of_reach(1, lateness=CAP) is None
    assert out_of_reach(3, lateness=CAP) is not None


async def test_events_below_a_clock_set_far_back_are_found_in_their_runs() -> None:
    bench = Bench(events=500, past=3000, lateness=100, lateness_max=300, audit_interval=60)
    await bench.later(400)
    assert bench.poller.checkpoint.position.hole is None
    bench.api.simulator.control("behaviour", {"date_offset": -3600})
    await bench.later(5)
    for _ in range(4):
        bench.api.insert(3, ago=3600)
        await bench.later(70)
        await bench.later(5)
    bench.assert_exact()
    position = bench.poller.checkpoint.position
    assert position.hole is not None, "as long as the clock is behind, nobody can be sure"
    until = position.complete_until(bench.poller.lateness)
    assert until is not None
    assert until < bench.clock.now() - 3600 * SECOND
    bench.api.simulator.control("behaviour", {"date_offset": 0})
    bench.api.insert(3)
    for _ in range(8):
        await bench.later(100)
    bench.assert_exact()
    assert bench.poller.checkpoint.position.hole is None
    assert len(bench.topics.audits("gap_closed")) > 1


async def test_a_run_that_began_below_a_clock_set_far_back_is_found() -> None:
    bench = Bench(events=500, past=3000, lateness=100, lateness_max=300, audit_interval=300)
    bench.api.insert(3, runs=1)
    await bench.later(100)
    bench.api.simulator.control("behaviour", {"date_offset": -3600})
    await bench.later(5)
    world = bench.api.simulator.world
    world.advance(bench.clock.now())
    began = bench.clock.now() - 3600 * SECOND
    (mission, *_) = world.missions.values()
    run = world.start_run(mission, "0a0a0a0a-0000-4000-8000-000000000001", {}, began)
    bench.api.insert(3, ago=3600, run_id=run.run_id)
    for _ in range(3):
        await bench.later(310)
    bench.assert_exact()


async def test_a_round_of_audits_ends_though_the_list_of_runs_is_read_meanwhile() -> None:
    bench = Bench(events=500, past=3000, lateness=100, lateness_max=300, audit_interval=20)
    await bench.later(400)
    bench.api.simulator.control("behaviour", {"date_offset": -3600})
    bench.api.insert(3, ago=3600)
    bench.api.seconds = 1.0  # a turn has time for one run
    closed = len(bench.topics.audits("gap_closed"))
    for _ in range(200):
        await bench.turn()
    assert len(bench.topics.audits("gap_closed")) > closed
    bench.assert_exact()


async def test_a_page_out_of_a_cache_holds_the_frontier_back() -> None:
    """What appeared since it was kept is not on it: a later sweep must look there again."""
    bench = Bench(events=1200, past=400, lateness=100, lateness_max=100, audit_interval=1e6)
    await bench.catch_up()
    bench.clock.pass_by(16)
    bench.api.insert(1, ago=95)
    bench.clock.pass_by(29)
    bench.api.insert(3)

    def all_but_the_first_are_old(request: httpx.Request) -> None:
        bench.api.simulator.control("reset-faults", {})
        if request.url.params.get("page[number]") != "1":
            stale = {"kind": "stale", "seconds": 35, "age": True}
            bench.api.simulator.control("faults", stale)

    bench.api.script = all_but_the_first_are_old
    await bench.later(1)
    bench.api.script = None
    bench.api.simulator.control("reset-faults", {})
    await bench.later(15)
    bench.assert_exact()
