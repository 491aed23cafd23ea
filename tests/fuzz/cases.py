"""One case of each kind: a seed in, nothing out; what is wrong is raised."""

from __future__ import annotations

from collections import Counter
from random import Random

import httpx
import pytest
from commands_bench import Bench, missions, start
from commands_world import MISSION, RUN, FakeApi, SimulatedBudget, SimulatedClock
from source_bench import Bench as SourceBench
from support import fake_kafka

from bridge.avro.registry import Registry
from bridge.avro.schema import load_schemas
from bridge.errors import AccessError, Again, ApiError, ApiRejected, ConfigError, RegistryAway
from bridge.missions.client import MissionsClient
from bridge.missions.models import StartRun
from fuzz import noise

_NO_REFUSAL = range(500, 600)
"""Of an answer that comes after the effect: a 4xx would say that there was none."""
_ODD_READS = 0.3
"""Share of the source's requests that are answered oddly."""
_TURNS = 20
_GOOD = 4
_BAD = 12


async def api(seed: int) -> None:
    """Any answer to a read and to a write is a result or a documented error."""
    draw = Random(seed)
    clock = SimulatedClock()
    client = MissionsClient(
        base_url="https://api.example.test/v2",
        key=lambda: "key",
        budget=SimulatedBudget(1000, clock),
        clock=clock,
        transport=httpx.MockTransport(lambda _: noise.answer(draw)),
    )
    calls = (
        lambda: client.get_run(MISSION, RUN),
        client.list_events,
        client.list_recent_runs,
        client.probe,
        lambda: client.start_run(MISSION, StartRun()),
        lambda: client.clone_mission(MISSION),
        lambda: client.delete_mission(MISSION),
        lambda: client.cancel_run(MISSION, RUN),
    )
    for call in calls:
        try:
            await call()
        except (ApiError, AccessError, ApiRejected):
            continue
    await client.aclose()


async def registry(seed: int) -> None:
    """Any answer of the registry is a result or a documented error."""
    draw = Random(seed)
    client = Registry(
        "http://registry",
        clock=SimulatedClock(),
        transport=httpx.MockTransport(lambda _: noise.answer(draw)),
    )
    calls = (
        lambda: client.register("s", "{}"),
        lambda: client.lookup("s", "{}"),
        lambda: client.latest("s"),
        lambda: client.versions("s"),
        lambda: client.by_id(1),
        lambda: client.compatible("s", "{}"),
        lambda: client.level("s"),
    )
    for call in calls:
        try:
            await call()
        except (RegistryAway, ConfigError):
            continue
    await client.aclose()


async def commands(seed: int) -> None:
    """Among any records and answers each good command gets one final result, and a true one."""
    draw = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        fake_kafka.plug_in(patch)
        bench = await Bench().open()
        try:
            bench.api.script = _Odd(draw, bench.api)
            good = [
                start(f"good-{number}", mission) for number, mission in enumerate(missions(_GOOD))
            ]
            encoded = bench.codec.encode("missions.commands-value", start("bad", MISSION))
            ours = noise.schema(load_schemas()["mission_command"].text)
            odd = [encoded[:5] + noise.written(draw, ours) for _ in range(_BAD)]
            records = [*good, *odd, *(noise.value(draw, encoded) for _ in range(_BAD))]
            draw.shuffle(records)
            bench.begin()
            for record in records:
                if isinstance(record, dict):
                    bench.send(record)
                else:
                    key = draw.choice([None, b"", b"\xff\0", draw.randbytes(200)])
                    bench.send(record, key=key, headers=noise.headers(draw))
            finals = [await bench.final(f"good-{number}") for number in range(_GOOD)]
            await bench.idle()
            _judge(finals, await bench.read("missions.command-results"), bench.api.effects)
        finally:
            await bench.tear_down()


async def source(seed: int) -> None:
    """Whatever the API answers for a while, each event is published once afterwards."""
    draw = Random(seed)
    bench = SourceBench(events=40, seed=seed)

    def script(_: httpx.Request) -> httpx.Response | None:
        return noise.answer(draw) if draw.random() < _ODD_READS else None

    bench.api.script = script
    for _ in range(_TURNS):
        try:
            await bench.turn()
        except (Again, ApiRejected):
            bench.clock.pass_by(1.0)
        if draw.random() < _ODD_READS:
            bench.api.insert()
    bench.api.script = None
    for _ in range(3):
        await bench.later(1_000.0)
    bench.assert_exact()


KINDS = {"source": source, "api": api, "registry": registry, "commands": commands}


class _Odd:
    """Answers some of the requests oddly, a few of them after their effect."""

    def __init__(self, draw: Random, api: FakeApi) -> None:
        self._draw, self._api = draw, api

    def __call__(self, operation: str, request: httpx.Request) -> httpx.Response | None:
        chance = self._draw.random()
        if operation != "start" or chance < 0.6:
            return None
        if chance < 0.8:
            self._api.carry_out(operation, request)
            return noise.answer(self._draw, _NO_REFUSAL)
        return noise.answer(self._draw)


def _judge(
    finals: list[dict[str, object]], results: list[dict[str, object]], effects: Counter[str]
) -> None:
    for final in finals:
        about = [r for r in results if r["final"] and r["command_id"] == final["command_id"]]
        assert len(about) == 1, about
        happened = effects[str(final["command_id"])]
        assert happened <= 1, (final, happened)
        if final["status"] == "SUCCEEDED":
            assert happened == 1, final
        elif final["status"] != "IN_DOUBT":
            assert happened == 0, final
