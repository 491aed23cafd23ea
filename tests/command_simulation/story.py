"""One story: a scenario and a seed, played to its end and judged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final
from unittest.mock import patch

from aiokafka import TopicPartition
from simulation.playing import Outcome
from simulation.process import CODEC
from simulation.virtual import VirtualLoop, passing, wall

from bridge.commands import engine, ledger
from command_simulation import clients, network
from command_simulation.ledgers import first_not_begun
from command_simulation.oracle import judge
from command_simulation.orders import DENIED, Draft, Kind, Order, garbage, spoiled
from command_simulation.replicas import Replicas
from command_simulation.scenarios import Scenario
from command_simulation.stage import COMMANDS, STATE, Stage

PATIENCE: Final = 3000.0
"""Seconds after which a calm story must have settled."""


def play(scenario: Scenario, seed: int, *, trace: bool = False) -> Outcome:
    """Play a story; the same scenario and seed always give the same one."""
    random.seed(seed)  # the bridge draws its jitter from there
    most = scenario.remembers or ledger.MOST_FINISHED
    loop = VirtualLoop()
    try:
        # Members wake up when there is something: turns without only cost time.
        with (
            patch.object(ledger, "MOST_FINISHED", most),
            patch.object(engine, "POLL", clients.LONGEST),
        ):
            return loop.run_until_complete(_play(Stage(loop, scenario, seed, trace=trace)))
    finally:
        loop.close()


async def _play(stage: Stage) -> Outcome:
    """Let things happen, calm down, wait until all is settled, and judge."""
    replicas = Replicas(stage)
    replicas.start()
    works = (_order(stage), _meddle(stage, replicas), _end(stage, replicas))
    tasks = [stage.loop.create_task(work) for work in works]
    await stage.over
    for task in tasks:
        task.cancel()
    await passing(1.0)  # until the last markers are written
    outcome = _judged(stage, replicas)
    for process in replicas.alive:
        process.machine.dead = True
    await _clear(stage.loop)
    return outcome


async def _clear(loop: VirtualLoop) -> None:
    """End what is left, so that nothing of one story runs in the next."""
    me = asyncio.current_task()
    for _ in range(20):
        left = [task for task in asyncio.all_tasks(loop) if task is not me]
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
    raise AssertionError(f"still running: {left}")


async def _order(stage: Stage) -> None:
    """Put records on the topic, some of them in heaps."""
    rng, drafts = stage.chance, list[Draft]()
    for _ in range(stage.scenario.orders):
        if rng.random() < 0.6:
            await passing(rng.uniform(0.0, 1.5 * stage.scenario.ordering / stage.scenario.orders))
        stage.orders.append(_put(stage, drafts))


def _put(stage: Stage, drafts: list[Draft]) -> Order:
    """Put one record on the topic; `drafts` are the good orders so far."""
    users, rng, now = stage.users, stage.chance, wall(stage.loop)
    kind = users.mix.kind(rng)
    if kind in {Kind.AGAIN, Kind.OTHER} and not drafts:
        kind = Kind.GOOD
    if kind in {Kind.AGAIN, Kind.OTHER}:
        draft = rng.choice(drafts)
    else:
        draft = users.draft(now, verb=DENIED if kind is Kind.DENIED else None)
    draft = spoiled(kind, draft, now, rng)
    if kind in {Kind.GOOD, Kind.EXPIRING}:
        drafts.append(draft)
    value: bytes | None = CODEC.encode(f"{COMMANDS}-value", draft.command)
    key, number = draft.key, users.partition_of(draft.key)
    if kind is Kind.GARBAGE:
        value = garbage(rng, value or b"")
    if kind is Kind.MISROUTED:
        number = (number + 1) % stage.scenario.partitions
    forbidden = rng.random() < stage.scenario.roads.forbidden
    if forbidden:
        stage.forbidden.add(draft.mark)
    at = TopicPartition(COMMANDS, number)
    offset = stage.cluster.append(at, key, value)
    command_id, verb = draft.command["command_id"], draft.command["type"]
    stage.tell("user", f"puts {kind.value}, {verb} {command_id}, at {number}/{offset}")
    return Order(
        kind=kind,
        at=at,
        offset=offset,
        key=key,
        command_id=command_id,
        verb=verb,
        mark=draft.mark,
        strict=draft.command["on_doubt"] == "strict",
        forbidden=forbidden,
    )


async def _meddle(stage: Stage, replicas: Replicas) -> None:
    """Freeze, hand over and cut off, by chance, until it is calm."""
    scenario, rng = stage.scenario, stage.chance
    chaos, roads = scenario.chaos, scenario.roads

    def away(name: str, *seconds: float) -> Callable[[], Any]:
        return lambda: stage.loop.create_task(network.outage(stage, name, rng.choice(seconds)))

    kinds: dict[Callable[[], Any], float] = {
        replicas.freeze_one: chaos.frozen,
        stage.group.rebalance: chaos.handed_over,
        lambda: _cut_off_kafka(stage, rng.choice((3.0, 20.0, 100.0))): chaos.kafka_away,
        away("api_away", 5.0, 30.0, 100.0): roads.outages,
        away("key_refused", 5.0, 30.0, 100.0): roads.revocations,
        away("registry_away", 5.0, 30.0): scenario.registry_away,
        lambda: _leave_open(stage): chaos.foreign,
        lambda: _steer(stage): roads.meddling,
        lambda: _vanish(stage): roads.vanishing,
        lambda: stage.cluster.compact(_ledger(stage)): scenario.compaction,
        lambda: _expire(stage): scenario.retention,
    }
    total = sum(kinds.values())
    while total:
        await passing(rng.expovariate(total))
        if stage.is_calm:
            return
        (happen,) = rng.choices(list(kinds), list(kinds.values()))
        happen()


def _cut_off_kafka(stage: Stage, seconds: float) -> None:
    stage.tell("kafka", f"is away for {seconds:.0f} s")
    stage.cluster.away = True
    stage.loop.call_later(seconds, lambda: setattr(stage.cluster, "away", False))


def _ledger(stage: Stage) -> TopicPartition:
    return TopicPartition(STATE, stage.chance.randrange(stage.scenario.partitions))


def _leave_open(stage: Stage) -> None:
    at = _ledger(stage)
    stage.tell("stranger", f"leaves a transaction open on {at.topic}-{at.partition}")
    stage.cluster.leave_open(f"stranger-{at.partition}", at)


def _steer(stage: Stage) -> None:
    """Let somebody else change the status of a run."""
    runs = [run for run in stage.api.runs.rows() if run["status"] in ("running", "paused")]
    if not runs:
        return
    run = stage.chance.choice(runs)
    status = stage.chance.choice(("running", "paused", "running", "paused", "cancelled"))
    stage.tell("somebody", f"sets run {run['run_id']} to {status}")
    stage.meddled.add(run["run_id"])
    stage.api.set_run(run["run_id"], wall(stage.loop), status=status)


def _vanish(stage: Stage) -> None:
    """Let somebody else delete a mission."""
    missions = stage.api.missions.rows()
    if missions:
        mission_id = stage.chance.choice(missions)["mission_id"]
        stage.tell("somebody", f"deletes mission {mission_id}")
        stage.meddled.add(mission_id)
        stage.api.missions.put(mission_id, wall(stage.loop), None)


def _expire(stage: Stage) -> None:
    """Let retention remove the commands that some ledger has already."""
    number = stage.chance.randrange(stage.scenario.partitions)
    at = TopicPartition(COMMANDS, number)
    begun = first_not_begun(stage.cluster, number)
    stage.tell("kafka", f"removes {at.topic}-{number} up to {begun}")
    stage.cluster.expire(at, begun)


async def _end(stage: Stage, replicas: Replicas) -> None:
    """After its time the story calms down; it is over when all is done and nothing under way."""
    await passing(stage.scenario.seconds)
    stage.calm_down()
    replicas.calm_down()
    ordered = stage.scenario.orders
    waited = 0.0
    while not (len(stage.orders) == ordered and replicas.has_finished() and not stage.under_way):
        await passing(2.0)
        waited += 2.0
        if waited > PATIENCE:
            stage.fail("it does not settle")
            return
    stage.end()


def _judged(stage: Stage, replicas: Replicas) -> Outcome:
    most = stage.scenario.producers
    if stage.cluster.producers > most:
        stage.problems.append(f"more than {most} producers were opened")
    verdict = judge(stage)
    figures = {
        "orders": len(stage.orders),
        "requests": stage.requests,
        "commits": stage.cluster.commits,
        "crashes": replicas.crashes,
        "takeovers": stage.group.takeovers,
        "succeeded": verdict.succeeded,
        "in doubt": verdict.in_doubt,
        "late": verdict.late,
        "twice": verdict.twice,
    }
    return Outcome(stage.problems + verdict.problems, figures, stage.lines)
