"""One story: a scenario and a seed, played to its end and judged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final

from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.missions.timestamps import moment
from bridge.source.reading.windows import BEGINNING
from simulation.brokers import Brokers
from simulation.chaos import meddle
from simulation.group import Group
from simulation.oracle import Truth, all_told, committed, decoded, judge
from simulation.oracle_cost import Steady, steady_state, too_dear
from simulation.playing import Outcome
from simulation.process import LAYOUT
from simulation.scenario import Cost, Scenario
from simulation.stage import Stage
from simulation.virtual import START, VirtualLoop, passing, seconds, wall

SOURCES: Final = ("default", "other")

APART: Final = 10**12
"""Between the seeds of the sources of one story."""

PATIENCE: Final = 9000.0
"""Seconds after which a calm story must have settled."""


def play(scenario: Scenario, seed: int, *, trace: bool = False) -> Outcome:
    """Play a story; the same scenario and seed always give the same one."""
    random.seed(seed)  # the bridge draws its jitter from there
    loop = VirtualLoop()
    try:
        brokers = Brokers(loop, Random(f"{seed}/kafka"), scenario.chaos.slow)
        stages = [
            Stage(loop, brokers, scenario, source, seed + number * APART, trace=trace)
            for number, source in enumerate(SOURCES[: scenario.sources])
        ]
        return loop.run_until_complete(_play(brokers, stages))
    finally:
        loop.close()


async def _play(brokers: Brokers, stages: list[Stage]) -> Outcome:
    """Let things happen, calm down, wait until all is settled, and judge."""
    groups = [Group(stage) for stage in stages]
    works = []
    for stage, group in zip(stages, groups, strict=True):
        group.start()
        works += [_meddle(stage, group), _end(stage, group)]
    tasks = [asyncio.create_task(work) for work in works]
    for stage in stages:
        await stage.over
    for task in tasks:
        task.cancel()
    # Who is at work goes on: what is judged must not be half done.
    await _until(lambda: brokers.are_quiet, PATIENCE, every=0.01)
    outcomes = [_judged(stage, group) for stage, group in zip(stages, groups, strict=True)]
    for group in groups:
        await group.clear()
    return _together(outcomes)


def _together(outcomes: list[Outcome]) -> Outcome:
    figures = Counter[str]()
    for one in outcomes:
        figures.update(one.figures)
    problems = [problem for one in outcomes for problem in one.problems]
    lines = [line for one in outcomes for line in one.lines]
    return Outcome(problems, dict(figures), sorted(lines) if len(outcomes) > 1 else lines)


async def _meddle(stage: Stage, group: Group) -> None:
    """Freeze, hand over and cut off, by chance, until it is calm."""
    chaos, rng = stage.scenario.chaos, stage.chance
    kinds: dict[Callable[[], Any], float] = {
        lambda: group.freeze_owner(rng.choice((1.0, 5.0, 12.0, 20.0, 50.0))): chaos.frozen,
        group.rebalance: chaos.handed_over,
        lambda: _cut_off_kafka(stage, rng.choice((3.0, 20.0, 100.0))): chaos.kafka_away,
        lambda: _cut_off_api(stage, rng.uniform(30.0, 200.0)): stage.scenario.roads.outages,
        lambda: _leave_open(stage): chaos.foreign,
    }
    await meddle(kinds, rng, lambda: stage.is_calm)


def _cut_off_kafka(stage: Stage, seconds: float) -> None:
    stage.tell("kafka", f"is away for {seconds:.0f} s")
    stage.brokers.away = True
    stage.loop.call_later(seconds, lambda: setattr(stage.brokers, "away", False))


def _cut_off_api(stage: Stage, seconds: float) -> None:
    stage.tell("api", f"is away for {seconds:.0f} s")
    stage.api_away = True
    stage.loop.call_later(seconds, lambda: setattr(stage, "api_away", False))


def _leave_open(stage: Stage) -> None:
    stage.tell("stranger", "leaves a transaction open on the checkpoint's partition")
    at = TopicPartition(LAYOUT.checkpoint, LAYOUT.checkpoint_partition)
    stage.brokers.leave_open("stranger", at)


async def _end(stage: Stage, group: Group) -> None:
    """After its time the story calms down; it is over when the owner has settled."""
    scenario = stage.scenario
    if not scenario.is_race:
        await passing(scenario.seconds)
    elif not await _until(lambda: group.has_caught_up, scenario.seconds):
        stage.fail(f"the backlog was not read within {scenario.seconds:g} s")
    stage.calm_down()
    group.calm_down()
    await passing(scenario.settle)
    if not await _until(lambda: group.has_settled, PATIENCE):
        stage.fail("it does not settle")
    stage.end()


async def _until(reached: Callable[[], bool], seconds: float, every: float = 1.0) -> bool:
    """Wait until something is so; False if that takes too long."""
    waited = 0.0
    while not reached() and waited < seconds:
        await passing(every)
        waited += every
    return reached()


def _judged(stage: Stage, group: Group) -> Outcome:
    most = stage.scenario.producers
    if stage.brokers.producers > most:
        stage.problems.append(f"more than {most} producers were opened")
    checkpoint = None if group.owner is None else group.owner.checkpoint
    verdict = judge(stage.brokers, _truth(stage), checkpoint)
    stage.problems += _too_dear(stage)
    figures = {
        "events": len(stage.simulator.world.history),
        "requests": stage.requests,
        "commits": stage.brokers.commits,
        "crashes": group.crashes,
        "takeovers": group.takeovers,
        "late": verdict.late,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
    }
    return Outcome(stage.problems + verdict.problems, figures, stage.lines)


def _too_dear(stage: Stage) -> list[str]:
    """Judge what a steady feed cost, where the story is about that."""
    scenario = stage.scenario
    return [] if scenario.cost is None else list(too_dear(scenario, scenario.cost, steady(stage)))


def steady(stage: Stage) -> Steady:
    """Sum up what the reading of a steady feed cost."""
    prompt = {
        (event.run_id, event.event_id): event.visible_at
        for event in stage.simulator.world.history
        if event.visible_at == event.at
    }
    records = (decoded(LAYOUT.events, one) for one in committed(stage.brokers, LAYOUT.events))
    named = (((one["run_id"], one["event_id"]), one["ingested_at"]) for one in records)
    written = [(prompt[name], at) for name, at in named if name in prompt]
    told = list(all_told(stage.brokers, stage.source))
    cost = stage.scenario.cost or Cost()
    return steady_state(cost, stage.scenario, stage.asked, told, written)


def _truth(stage: Stage) -> Truth:
    scenario, world, broken = stage.scenario, stage.simulator.world, dict(stage.sky.broken)
    rows = set(broken.values())
    start = scenario.start
    floor = BEGINNING if isinstance(start, str) else START + seconds(start)
    since = _began(stage) if start == "latest" else floor
    expected = {
        (event.run_id, event.event_id): event
        for event in world.history
        if event.deleted_at is None and event not in rows and event.at >= since
    }
    window = seconds(scenario.lateness)
    steady = not scenario.weather.steps  # else nobody can say how late an event is
    finished = {run.run_id: moment(run.row["finished_at"]) for run in world.runs.values()}
    return Truth(
        source=stage.source,
        expected=expected,
        broken=broken,
        prompt={
            name: event
            for name, event in expected.items()
            if steady and event.visible_at - event.at < window
        },
        finished={run: at for run, at in finished.items() if at is not None and scenario.seals},
        edited=stage.sky.edited,
        floor=floor,
        past={
            (event.run_id, event.event_id)
            for event in world.history
            if start == "latest" and event.visible_at <= START
        },
        once=scenario.delivery == "exactly_once",
        repaired=wall(stage.loop) - seconds(_repair_seconds(scenario)),
        now=wall(stage.loop),
    )


def _repair_seconds(scenario: Scenario) -> float:
    """Return how long a gap may stay open: a run that is gone is asked about in a second round."""
    rounds = 2 if scenario.weather.deletions else 1
    return rounds * scenario.audits + 4 * scenario.lateness


def _began(stage: Stage) -> Micros:
    """Return the time at which the source had decided where it begins."""
    told = all_told(stage.brokers, stage.source)
    return min((one.record["at"] for one in told), default=BEGINNING)
