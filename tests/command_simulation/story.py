"""One story: a scenario and a seed, played to its end and judged."""

from __future__ import annotations

import asyncio
import random
from typing import Final
from unittest.mock import patch

from aiokafka import TopicPartition
from simulation.playing import Outcome
from simulation.process import CODEC
from simulation.virtual import VirtualLoop, passing, wall

from bridge.commands import engine
from bridge.commands.ledger import ledger
from command_simulation import clients
from command_simulation.meddling import meddle
from command_simulation.oracle import judge
from command_simulation.orders import DENIED, Draft, Kind, Order, garbage, spoiled
from command_simulation.replicas import Replicas
from command_simulation.scenarios import Scenario
from command_simulation.stage import COMMANDS, Stage

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
    works = (_order(stage), meddle(stage, replicas), _end(stage, replicas))
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
        mission_id=draft.command["mission_id"],
        mark=draft.mark,
        strict=draft.command["on_doubt"] == "strict",
        forbidden=forbidden,
    )


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
