from __future__ import annotations

import asyncio

import pytest
from missions_fakes import FakeClock

from bridge.clock import Clock
from bridge.errors import AccessError, ApiError, ApiRejected, BridgeError
from bridge.health import Health
from bridge.missions.access import PROBE_SECONDS, AccessGate


class Probe:
    """Answers in turn, the last one for ever; None passes."""

    def __init__(self, *answers: BridgeError | None) -> None:
        self.answers = answers
        self.calls = 0

    async def __call__(self) -> None:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if answer is not None:
            raise answer


REFUSED = AccessError("get_run: answered 401", status=401)
AWAY = ApiError("probe: connect", executed=False)


def gate_with(probe: Probe) -> tuple[AccessGate, FakeClock, Health]:
    clock = FakeClock()
    health = Health(clock)
    return AccessGate(probe, clock, health, "api key"), clock, health


async def test_the_gate_is_open_until_a_key_is_refused() -> None:
    gate, _, _ = gate_with(Probe(None))

    assert gate.is_open
    assert await gate.wait_open(asyncio.Event())


async def test_a_refused_key_shuts_the_gate_and_readiness_says_so() -> None:
    gate, _, health = gate_with(Probe(None))

    gate.refuse(REFUSED)

    assert not gate.is_open
    assert "401" in health.reasons["api key"]


async def test_it_probes_every_ten_seconds_until_the_key_works() -> None:
    probe = Probe(REFUSED, AWAY, AccessError("403", status=403), None)
    gate, clock, health = gate_with(probe)
    stop = asyncio.Event()
    gate.refuse(REFUSED)
    running = asyncio.ensure_future(gate.run(stop))

    async with asyncio.timeout(10):
        assert await gate.wait_open(stop)

    assert probe.calls == 4
    assert clock.slept == [PROBE_SECONDS] * 3
    assert health.reasons == {}
    stop.set()
    await running


async def test_it_shuts_again_when_a_later_key_is_refused() -> None:
    probe = Probe(None)
    gate, _, _ = gate_with(probe)
    stop = asyncio.Event()
    running = asyncio.ensure_future(gate.run(stop))
    async with asyncio.timeout(10):
        for opened in (1, 2):
            gate.refuse(REFUSED)
            assert await gate.wait_open(stop)
            assert probe.calls == opened

        stop.set()
        await running


async def test_whoever_waits_leaves_when_the_bridge_stops() -> None:
    gate, _, _ = gate_with(Probe(REFUSED))
    stop = asyncio.Event()
    gate.refuse(REFUSED)
    waiting = asyncio.ensure_future(gate.wait_open(stop))
    await Clock().sleep(0)

    stop.set()

    async with asyncio.timeout(10):
        assert await waiting is False
    assert await gate.wait_open(stop) is False


async def test_a_request_refused_for_another_reason_shows_that_the_key_works() -> None:
    gate, _, health = gate_with(Probe(ApiRejected("probe: answered 404", status=404)))
    gate.refuse(REFUSED)

    assert await gate.turn()
    assert gate.is_open
    assert health.reasons == {}


async def test_an_api_that_is_away_does_not_open_the_gate() -> None:
    gate, _, health = gate_with(Probe(AWAY))
    gate.refuse(REFUSED)

    assert not await gate.turn()
    assert not gate.is_open
    assert "api key" in health.reasons


async def test_a_bug_in_the_probe_is_not_swallowed() -> None:
    async def broken() -> None:
        raise RuntimeError("bug")

    clock = FakeClock()
    gate = AccessGate(broken, clock, Health(clock))
    gate.refuse(REFUSED)

    with pytest.raises(RuntimeError, match="bug"):
        await gate.run(asyncio.Event())
