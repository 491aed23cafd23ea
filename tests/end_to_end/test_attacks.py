"""Two executions of Kafka's protocol that lose or double events where the bridge does not guard.

Each is told twice: with the guard nothing is lost or doubled, without it something is. So a guard
that is no longer needed, or an attack that no longer works, shows as well.
"""

import asyncio
import json
from functools import partial
from pathlib import Path
from random import Random

import pytest
from support import verdict
from support.brokers import Broker
from support.kafka import leave_open, wait_until
from support.kafka_proxy import FENCED, kafka_proxy
from support.stage import stage
from support.within import BridgeWithin, bridge_within, watch_reading

from bridge.kafka.producer import _EndCounter

real = pytest.mark.parametrize("kafka", ["real"], indirect=True)
guarded = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "unguarded"])


def has_published(bridge: BridgeWithin, count: int) -> bool:
    return bridge.published == count


@real
@guarded
async def test_the_end_of_a_transaction_that_arrives_in_another_loses_nothing(
    kafka: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guarded: bool,
) -> None:
    """KAFKA-17754. The guard counts the EndTxn requests that aiokafka repeats in silence."""
    if not guarded:
        never = property(lambda _: 0, lambda *_: None)
        monkeypatch.setattr(_EndCounter, "count", never, raising=False)
    with stage(kafka, topic_prefix, tmp_path) as scene:
        async with kafka_proxy(kafka.address, monkeypatch) as proxy, bridge_within(scene) as bridge:
            scene.insert(1)
            await wait_until(lambda: bridge.published == 1, 60)
            proxy.keep_next_end()
            scene.insert(1)
            await wait_until(lambda: proxy.keeps_one)
            await wait_until(lambda: bridge.published == 2)
            proxy.deliver_within_transaction(size=100_000)
            # Too large for one batch of a partition: one request writes the checkpoint and some of
            # the events, the next the others.
            scene.insert(8, payload_text=json.dumps({"noise": Random(1).randbytes(150_000).hex()}))
            await wait_until(lambda: proxy.answer is not None)
            await wait_until(lambda: bridge.published == 10)
            found = await asyncio.to_thread(verdict.of, scene)
    if guarded:
        assert proxy.answer == FENCED
        found.assert_exact()
    else:
        assert proxy.answer == 0
        assert found.missing


@real
@guarded
async def test_a_transaction_that_somebody_leaves_open_hides_nothing_from_a_successor(
    kafka: Broker,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guarded: bool,
) -> None:
    """Readers of committed records see nothing behind it. The guard is a claim of the successor's
    own, which it has to see before it believes that it has read all."""
    with stage(kafka, topic_prefix, tmp_path) as scene:
        async with bridge_within(scene) as first:
            for batch in range(4):
                scene.insert(5)
                await wait_until(partial(has_published, first, 5 * (batch + 1)), 60)
                if batch == 0:
                    stranger = await asyncio.to_thread(
                        leave_open,
                        scene.broker,
                        f"{scene.prefix}.stranger",
                        f"{scene.prefix}.checkpoint",
                    )
        reading = watch_reading(scene, "source.takeover", monkeypatch, to_its_claim=guarded)
        async with bridge_within(scene) as successor:
            await wait_until(reading.is_set, 60)
            if guarded:
                assert successor.published == -1
                await asyncio.to_thread(stranger.abort_transaction, 30)
            scene.insert(5)
            await wait_until(partial(has_published, successor, 25))
        found = await asyncio.to_thread(verdict.of, scene)
        if not guarded:
            await asyncio.to_thread(stranger.abort_transaction, 30)
    if guarded:
        found.assert_exact()
    else:
        assert len(found.doubled) == 15
