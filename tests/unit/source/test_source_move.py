"""A checkpoint taken over to another address of the same account, where the API shows none."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from source_bench import LAYOUT, SETTINGS, STATE, Bench
from source_owners import Own, assert_exact, published, until

from bridge.errors import Fenced, StateError
from bridge.kafka.producer import Record
from bridge.source.takeover import feed_of
from bridge.source.tools import move as tool
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.repair import repair

MOVED = SETTINGS.api.model_copy(update={"base_url": "https://proxy.example.test/v2"})
FEED = feed_of(MOVED.base_url, "default")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No member of the group has the source."""

    async def holder(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(tool, "holder", holder)


async def filled(own: Own) -> Bench:
    """A source that has published 20 events, of an account that the API does not show."""
    bench = Bench(events=20)
    refusal = httpx.Response(403, json={"errors": [{"code": "10010", "title": "No"}]})
    bench.api.script = lambda request: refusal if request.url.path.endswith("/runs") else None
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    return bench


def view(bench: Bench) -> SourceAccess:
    """The source as its tools see it, with the new address set."""
    one = bench.view()
    return replace(
        one,
        settings=SETTINGS.model_copy(update={"api": MOVED}),
        desk=replace(one.desk, base_url=MOVED.base_url),
    )


def live(bench: Bench) -> dict[bytes | None, bytes]:
    newest = {record.key: record.value for record in bench.topics.kafka.logs[STATE]}
    return {key: value for key, value in newest.items() if value is not None}


async def test_a_moved_checkpoint_keeps_all_that_is_known_and_the_source_goes_on(own: Own) -> None:
    bench = await filled(own)
    before = bench.topics.state()
    with pytest.raises(StateError, match="`mission-bridge offsets move`"):
        await asyncio.wait_for(own(bench, api=MOVED).work, 10)
    with pytest.raises(StateError, match="`mission-bridge offsets move`"):
        await repair(view(bench), dry=False)
    told = await tool.survey(view(bench))
    assert (told.needed, told.shows, told.known) == (True, 20, 20)
    commits = bench.topics.commits
    await tool.move(view(bench))
    assert bench.topics.commits == commits + 2, "a claim, and all the rest at once"
    after = bench.topics.state(FEED)
    assert replace(after, feed=before.feed) == before
    assert not (await tool.survey(view(bench))).needed
    assert not [key for key in live(bench) if key and key.startswith(b"claim/")]
    bench.api.insert(2)
    moved = own(bench, api=MOVED)
    await until(published(bench, 22), moved)
    assert_exact(bench)


async def test_no_checkpoint_is_moved_while_a_bridge_works_on_it(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await filled(own)
    before, commits = live(bench), bench.topics.commits

    async def holder(*_: Any, **__: Any) -> str:
        return "member-1 on /10.0.0.1"

    monkeypatch.setattr(tool, "holder", holder)
    with pytest.raises(StateError, match=r"worked on by member-1 on /10\.0\.0\.1: stop that"):
        await tool.move(view(bench))
    assert (live(bench), bench.topics.commits) == (before, commits)


async def test_a_bridge_that_begins_meanwhile_ends_the_move_before_it_changes_anything(
    own: Own,
) -> None:
    bench = await filled(own)
    before = bench.topics.state()
    there = view(bench)

    async def overtaken(stage: str, records: Any) -> None:
        if stage == "before" and any(one.key == b"frontier/default" for one in records):
            raise Fenced("another owner took over")

    bench.topics.kafka.hook = overtaken
    with pytest.raises(Fenced):
        await tool.move(there)
    bench.topics.kafka.hook = None
    assert bench.topics.state() == before


async def test_no_checkpoint_is_moved_to_another_account(own: Own) -> None:
    bench = Bench(events=20)
    first = own(bench)
    await until(published(bench, 20), first)
    await first.end()
    other = Bench(events=20, seed=2)
    other.topics = bench.topics
    for attempt in (tool.survey, tool.move):
        with pytest.raises(StateError, match="it is moved to no other account"):
            await attempt(view(other))
    assert not [key for key in live(bench) if key and key.startswith(b"claim/")]
    assert bench.topics.state().published == 20


async def test_events_of_another_account_are_not_recognised(own: Own) -> None:
    bench = await filled(own)
    other = Bench(events=20, seed=2)
    other.topics, other.api.script = bench.topics, bench.api.script
    told = await tool.survey(view(other))
    assert (told.shows, told.known) == (20, 0)


async def test_a_checkpoint_that_is_damaged_as_well_is_moved_and_then_repaired(own: Own) -> None:
    bench = await filled(own)
    rubbish = Record(LAYOUT.checkpoint, 0, b"seg/default/1", b"garbage")
    bench.topics.kafka.append(rubbish)
    assert (await tool.survey(view(bench))).known is None
    await tool.move(view(bench))
    assert await repair(view(bench), dry=False) is not None
    bench.api.insert(1)
    await until(published(bench, 21), own(bench, api=MOVED))
    assert_exact(bench)


async def test_where_nothing_is_stored_there_is_nothing_to_move() -> None:
    with pytest.raises(StateError, match="nothing to move"):
        await tool.move(view(Bench(events=0)))
