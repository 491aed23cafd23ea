"""What the demo's end means for whoever started it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from bridge.clock import Clock
from bridge.dev.demo import demo
from bridge.dev.demo.proof import ProofVerdict
from bridge.dev.demo.stage import DemoFailed

Play = Callable[..., Awaitable[dict[str, ProofVerdict]]]


def ends_with(verdict: ProofVerdict) -> Play:
    async def play(*_: object) -> dict[str, ProofVerdict]:
        await Clock().sleep(0)
        return {"events": verdict}

    return play


async def test_a_proof_that_holds_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_play", ends_with(ProofVerdict((("missing", 0),), ())))
    assert await demo._run(15, ()) == 0


async def test_a_proof_that_fails_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        demo, "_play", ends_with(ProofVerdict((("missing", 1),), ("1 missing: r/e",)))
    )
    assert await demo._run(15, ()) == 1
    assert "1 missing: r/e" in capsys.readouterr().out


async def test_what_goes_wrong_on_the_stage_comes_out_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play(*_: object) -> dict[str, ProofVerdict]:
        raise DemoFailed("the bridge ended by itself")

    monkeypatch.setattr(demo, "_play", play)
    with pytest.raises(DemoFailed, match="ended by itself"):
        await demo._run(15, ())


async def test_a_signal_lets_it_clean_up_and_further_ones_do_not_disturb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clean: list[bool] = []

    async def play(*_: object) -> dict[str, ProofVerdict]:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            await Clock().sleep(0.05)
            clean.append(True)
        raise AssertionError("not reached")

    monkeypatch.setattr(demo, "_play", play)
    assert await asyncio.create_task(demo._run(15, ())) == 130
    assert clean == [True]
    assert "nothing is left behind" in capsys.readouterr().out
