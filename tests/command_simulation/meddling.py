"""What else happens: people, strangers and Kafka get in the way of a story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition
from simulation import chaos
from simulation.process import CODEC
from simulation.virtual import wall

from bridge.commands.brakes import brake
from bridge.commands.brakes.brake import Brake, Scope, state
from command_simulation import network
from command_simulation.ledgers import first_not_begun
from command_simulation.replicas import Replicas
from command_simulation.stage import COMMANDS, STATE, Pulled, Stage

BRAKES: Final = TopicPartition(STATE, brake.PARTITION)


async def meddle(stage: Stage, replicas: Replicas) -> None:
    """Freeze, hand over and cut off, by chance, until it is calm."""
    scenario, rng = stage.scenario, stage.chance
    trouble, roads = scenario.chaos, scenario.roads

    def away(name: str, *seconds: float) -> Callable[[], Any]:
        return lambda: stage.loop.create_task(network.outage(stage, name, rng.choice(seconds)))

    kinds: dict[Callable[[], Any], float] = {
        replicas.freeze_one: trouble.frozen,
        stage.group.rebalance: trouble.handed_over,
        lambda: _cut_off_kafka(stage, rng.choice((3.0, 20.0, 100.0))): trouble.kafka_away,
        away("api_away", 5.0, 30.0, 100.0): roads.outages,
        away("key_refused", 5.0, 30.0, 100.0): roads.revocations,
        away("registry_away", 5.0, 30.0): scenario.registry_away,
        lambda: _leave_open(stage): trouble.foreign,
        lambda: _steer(stage): roads.meddling,
        lambda: _vanish(stage): roads.vanishing,
        lambda: stage.cluster.compact(_ledger(stage)): scenario.compaction,
        lambda: _expire(stage): scenario.retention,
        lambda: _pull_a_brake(stage): scenario.brakes,
    }
    await chaos.meddle(kinds, rng, lambda: stage.is_calm)


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


def _pull_a_brake(stage: Stage) -> None:
    """Let somebody hold commands back, for a while."""
    rng, now = stage.chance, wall(stage.loop)
    mission = rng.choice((None, rng.choice(stage.missions)))
    scope = Scope(rng.choice((None, "start_run", "log_event")), mission)
    if any(one.scope == scope and one.until is None for one in stage.brakes):
        return
    pulled = Pulled(scope, stage.loop.time())
    stage.brakes.append(pulled)
    stage.tell("somebody", f"holds back {scope}")
    held = state(Brake(scope.key, scope, "somebody", now, None))
    stage.cluster.append(BRAKES, scope.key.encode(), CODEC.encode(f"{STATE}-value", held))
    stage.loop.call_later(rng.choice((3.0, 10.0, 60.0)), _lift, stage, pulled)


def _lift(stage: Stage, pulled: Pulled) -> None:
    stage.tell("somebody", f"lets go of {pulled.scope}")
    pulled.until = stage.loop.time()
    stage.cluster.append(BRAKES, pulled.scope.key.encode(), None)
