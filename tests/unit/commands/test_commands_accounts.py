"""Commands that name an account: its key and nobody else's, from the request to the last look."""

from __future__ import annotations

import pytest
from commands_bench import Bench, Make, missions, start, until
from commands_world import FakeApi, refusal

from bridge.commands.model import Status


async def two_accounts(make: Make, **options: object) -> tuple[Bench, FakeApi]:
    """Return a bench, and what the key of the source `other` sees."""
    bench = await make(**options)
    other = bench.accounts["other"] = FakeApi(bench.clock)
    return bench, other


async def test_an_account_is_carried_out_with_its_own_key(make: Make) -> None:
    bench, other = await two_accounts(make)
    bench.begin()
    bench.send(start("common"))
    bench.send(start("own", account="other"))
    results = {result["command_id"]: result for result in await bench.results(2)}
    assert {result["status"] for result in results.values()} == {"SUCCEEDED"}
    assert (results["common"]["account"], results["own"]["account"]) == (None, "other")
    assert (bench.api.effects, other.effects) == ({"common": 1}, {"own": 1})


@pytest.mark.parametrize("account", ["somebody-else", "", "OTHER", "x" * 5_000])
async def test_an_unknown_account_is_refused(make: Make, account: str) -> None:
    bench, other = await two_accounts(make)
    bench.begin()
    bench.send(start("c1", account=account))
    (result,) = await bench.results(1)
    assert (result["status"], result["final"]) == ("REJECTED", True)
    assert result["error"]["code"] == "unknown_account"
    assert not bench.api.calls
    assert not other.calls


async def test_an_unclear_answer_is_looked_for_with_the_key_of_its_account(make: Make) -> None:
    bench, other = await two_accounts(make)
    answers = [refusal(500)]
    other.script = lambda name, _: answers.pop() if name == "start" and answers else None
    bench.begin()
    bench.send(start("c1", account="other"))
    assert (await bench.final("c1"))["status"] == "IN_DOUBT"
    assert len(other.calls) > 1
    assert not bench.api.calls


async def test_a_successor_looks_with_the_key_of_the_account(make: Make) -> None:
    bench, other = await two_accounts(make)
    frozen = bench.freeze("after", "intent")
    bench.begin()
    bench.send(start("c1", account="other"))
    await frozen.wait()
    await bench.crash()
    bench.begin()
    assert (await bench.final("c1"))["status"] == "IN_DOUBT"
    assert other.calls
    assert not bench.api.calls


async def test_a_key_that_is_refused_stops_its_own_account_alone(make: Make) -> None:
    bench, other = await two_accounts(make)
    revoked = True
    other.script = lambda *_: refusal(401) if revoked else None
    bench.begin()
    bench.send(start("held", account="other"))
    await until(lambda: "api key of other" in str(bench.health.reasons))
    for number, mission in enumerate(missions(3)):
        bench.send(start(f"c{number}", mission))
    assert {result["status"] for result in await bench.results(3)} == {"SUCCEEDED"}
    revoked = False
    assert (await bench.final("held"))["status"] == "SUCCEEDED"


async def test_a_pause_that_the_api_asks_of_one_key_does_not_slow_another(make: Make) -> None:
    bench, other = await two_accounts(make)
    answers = [refusal(429, **{"retry-after": "50"})]
    other.script = lambda *_: answers.pop() if answers else None
    bench.begin()
    bench.send(start("slow", account="other"))
    await until(lambda: other.calls)
    bench.send(start("fast", missions(1)[0]))
    began = bench.clock.monotonic()
    assert (await bench.final("fast"))["status"] == "SUCCEEDED"
    assert bench.clock.monotonic() - began < 10
    assert (await bench.final("slow"))["status"] == "SUCCEEDED"
    assert bench.clock.monotonic() - began > 40


async def test_an_account_that_is_gone_leaves_a_begun_command_in_doubt(make: Make) -> None:
    bench, _ = await two_accounts(make)
    frozen = bench.freeze("after", "intent")
    bench.begin()
    bench.send(start("c1", account="other"))
    await frozen.wait()
    await bench.crash()
    bench.accounts.clear()
    bench.begin()
    result = await bench.final("c1")
    assert (result["status"], result["final"]) == (Status.IN_DOUBT, True)
    assert "gone from the settings" in result["error"]["message"]
    assert not bench.api.calls
