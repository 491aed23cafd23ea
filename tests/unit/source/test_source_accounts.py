"""Accounts, names and counts of partitions: what a source refuses to go on with."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import stamina
from source_bench import LAYOUT, SETTINGS, STATE, Bench
from source_owners import Own, assert_exact, published, until

from bridge.errors import StateError
from bridge.kafka.partition import murmur2
from bridge.source.takeover import feed_of
from bridge.source.tools.repair import repair
from bridge.source.writing.publish import Layout


async def test_the_checkpoint_of_another_account_is_refused(own: Own) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    assert bench.topics.state().account is not None
    moved = Bench(events=20, seed=2)
    moved.topics = bench.topics
    second = own(moved)
    with pytest.raises(StateError, match=r"belongs to organization .* and the API key to"):
        await asyncio.wait_for(second.work, 10)
    assert len(bench.topics.events()) == 20


MOVED = SETTINGS.api.model_copy(update={"base_url": "https://proxy.example.test/v2"})


async def test_the_same_account_at_a_new_address_goes_on(own: Own) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    bench.api.insert(2)
    moved = own(bench, api=MOVED)
    await until(published(bench, 22), moved)
    await moved.end()
    assert_exact(bench)
    assert bench.topics.state(feed_of(MOVED.base_url, "default")).published == 22


async def test_a_second_source_for_one_account_is_refused_at_a_new_address_too(own: Own) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    with pytest.raises(StateError, match="which source default reads already"):
        await asyncio.wait_for(own(bench, name="other", api=MOVED).work, 10)
    assert len(bench.topics.events()) == 20


async def test_a_new_address_that_shows_no_account_is_refused(own: Own) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    refusal = httpx.Response(403, json={"errors": [{"code": "10010", "title": "No"}]})
    bench.api.script = lambda request: refusal if request.url.path.endswith("/runs") else None
    with pytest.raises(StateError, match="nothing shows that the account is the same"):
        await asyncio.wait_for(own(bench, api=MOVED).work, 10)
    assert len(bench.topics.events()) == 20


@pytest.mark.parametrize("partitions", [1, 5])
async def test_a_second_source_for_one_account_is_refused(own: Own, partitions: int) -> None:
    """Its name may lead to another partition of the checkpoint topic."""
    bench = Bench(events=20)
    first = own(bench, partitions=partitions)
    await until(published(bench, 20), first)
    await first.end()
    second = own(bench, partitions=partitions, name="other")
    with pytest.raises(
        StateError, match=r"source other would read .* source default reads already"
    ):
        await asyncio.wait_for(second.work, 10)
    assert len(bench.topics.events()) == 20


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"errors": [{"code": "10009", "title": "No"}]}),
        httpx.Response(403, json={"errors": [{"code": "10010", "title": "No"}]}),
        httpx.Response(503),
        httpx.Response(200, json={"data": [{"run_id": None}], "meta": {}}),
        httpx.Response(200, json={"data": [{"run_id": "r", "organization_id": 7}], "meta": {}}),
    ],
    ids=["401", "403", "503", "no run", "no organization"],
)
async def test_a_list_of_runs_that_shows_no_account_holds_no_event_back(
    own: Own, answer: httpx.Response
) -> None:
    bench = Bench(events=20)
    bench.api.script = lambda request: answer if request.url.path.endswith("/runs") else None
    with stamina.set_testing(True, attempts=1):
        owner = own(bench)
        await until(lambda: len(bench.topics.events()) == 20 and not owner.health.reasons, owner)
    await owner.end()
    assert_exact(bench)


async def test_sources_of_several_accounts_share_the_topics(own: Own) -> None:
    bench, other = Bench(events=20), Bench(events=30, seed=2)
    other.topics = bench.topics
    owners = own(bench), own(other, name="other")
    await until(published(bench, 50), *owners)
    for owner in owners:
        await owner.end()
    for source, name, count in ((bench, "default", 20), (other, "other", 30)):
        state = bench.topics.state(feed_of(SETTINGS.api.base_url, name), name)
        assert state.published == count
        assert len(source.api.events()) == count


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"events": 7}, r"missions.events had 6 partitions .* and has 7"),
        ({"partitions": 5}, "on another partition of missions.checkpoint"),
    ],
)
async def test_counts_of_partitions_that_changed_are_refused(
    own: Own, counts: dict[str, int], message: str
) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    second = own(bench, **counts)
    with pytest.raises(StateError, match=message):
        await asyncio.wait_for(second.work, 10)
    assert len(bench.topics.events()) == 20


@pytest.mark.parametrize("counts", [{"events": 7}, {"partitions": 5}])
async def test_a_repair_takes_changed_counts_of_partitions_over(
    own: Own, counts: dict[str, int]
) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    layout = Layout.of(
        SETTINGS,
        "default",
        events=counts.get("events", 6),
        checkpoints=counts.get("partitions", 1),
    )
    made = await repair(bench.view(layout), dry=False)
    assert made is not None
    assert len(made.state.seen) == 20
    if layout.checkpoint_partition != LAYOUT.checkpoint_partition:
        left = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
        assert not any(left.values()), "nothing is left where it was before"
    bench.api.insert(2)
    second = own(bench, **counts)
    await until(published(bench, 22), second)
    assert_exact(bench)


async def test_a_topic_that_grew_and_leaves_the_source_where_it_was_is_refused(own: Own) -> None:
    names = (f"n{number}" for number in range(50))
    name = next(one for one in names if murmur2(one.encode(), 2) == 0)
    bench = Bench(events=20)
    first = own(bench, name=name)
    await until(published(bench, 20), first)
    await first.end()
    with pytest.raises(StateError, match="had 1 partitions"):
        await asyncio.wait_for(own(bench, name=name, partitions=2).work, 10)
