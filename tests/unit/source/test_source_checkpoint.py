"""What a source remembers: decided once, and the same after a restart."""

from __future__ import annotations

import pytest
from source_lists import item
from source_state import FEED, Topic, filled, fresh, plan, planned

from bridge.clock import SECOND
from bridge.source.checkpoint.position import Climb, Position
from bridge.source.checkpoint.records import records
from bridge.source.checkpoint.state import EXPIRE_AT_ONCE, Checkpoint
from bridge.source.identity import LONGEST_RUN_ID, digest
from bridge.source.reading.windows import BEGINNING


def test_an_event_is_new_once() -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    batch = plan(state, [item(1), item(2), item(1)])
    assert fresh(batch) == [1, 2]
    topic.commit(state, batch)
    assert fresh(plan(state, [item(1), item(2), item(3)])) == [3]
    assert fresh(plan(topic.read(), [item(1), item(2), item(3)])) == [3]


def test_nothing_changes_before_the_commit() -> None:
    state, _ = filled()
    before = records(state, plan(state, []))
    plan(state, [item(100), item(101)], frontier=500, keep=5)
    assert records(state, plan(state, [])) == before


def test_an_event_is_late_after_a_later_one_of_its_run() -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    first = plan(state, [item(1, 10, "a"), item(2, 10, "b"), item(3, 20, "a")])
    assert [one.late for one in first.fresh] == [False, False, False]
    topic.commit(state, first)
    again = [item(4, 15, "b"), item(5, 15, "a"), item(6, 20, "a"), item(7, 30, "a")]
    for there in (state, topic.read()):
        batch = plan(there, again)
        assert [one.late for one in batch.fresh] == [False, True, False, False]
        assert batch.late == 1


def test_a_dead_letter_makes_no_event_late_but_counts_for_its_run() -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    broken, sound = item(1, 20, "a"), item(2, 30, "a")
    batch = planned(
        state, [broken, sound], Position(), broken=[broken], server_time=100, keep=BEGINNING
    )
    topic.commit(state, batch)
    assert (state.runs["a"].count, state.runs["a"].newest) == (2, 30)
    broken_alone = item(3, 90, "a")
    batch = planned(
        state, [broken_alone], Position(), broken=[broken_alone], server_time=100, keep=BEGINNING
    )
    topic.commit(state, batch)
    for there in (state, topic.read()):
        assert [one.late for one in plan(there, [item(4, 40, "a")]).fresh] == [False]


def test_a_start_at_latest_remembers_and_publishes_nothing() -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    batch = plan(state, [item(6), item(7)], publish=False, floor=6, frontier=7)
    assert batch.fresh == []
    topic.commit(state, batch)
    later = [item(4), item(5), item(6), item(7), item(8), item(60, 6)]
    assert fresh(plan(topic.read(), later)) == [8, 60]
    assert topic.read().published == 0


def test_what_is_older_than_the_start_is_not_published() -> None:
    state = Checkpoint("default", FEED)
    assert fresh(plan(state, [item(1), item(2), item(3)], floor=2)) == [2, 3]


def test_expired_events_are_not_published_again() -> None:
    state, topic = filled(10)
    topic.commit(state, plan(state, [], keep=20))
    assert state.seen.keys() == {item(n).digest for n in range(18, 30)}
    assert fresh(plan(topic.read(), [item(n) for n in range(30)])) == []


def test_few_tombstones_ride_in_one_transaction() -> None:
    state, topic = filled(EXPIRE_AT_ONCE + 50)
    before = len(topic.live)
    topic.commit(state, plan(state, [], keep=10**6))
    assert before - len(topic.live) == EXPIRE_AT_ONCE
    topic.commit(state, plan(state, []))
    assert topic.read() == state
    topic.commit(state, plan(state, [], keep=10**6))
    assert [key for key in topic.live if key.startswith("seg/")] == []
    assert topic.read() == state


def test_a_climb_does_not_bring_expired_events_back() -> None:
    """A climb begins below the frontier, so it would keep digests from further back."""
    state, topic = filled(EXPIRE_AT_ONCE + 50)
    topic.commit(state, plan(state, [], keep=10**6))
    kept_from = state.position.kept_from
    climb = plan(state, [item(10**6)], keep=10**5, climb=Climb(5, 10**6))
    assert len(climb.expired) == 50
    topic.commit(state, climb)
    assert state.position.kept_from == kept_from == 10**6
    assert fresh(plan(topic.read(), [item(n) for n in range(750)])) == []


def test_a_later_part_of_the_same_sweep_does_not_bring_them_back_either() -> None:
    state, topic = filled(10)
    before = state.position
    topic.commit(state, plan(state, [item(100)], keep=20))
    batch = planned(state, [item(5), item(101)], before, server_time=10**9, keep=20)
    topic.commit(state, batch)
    assert fresh(batch) == [101]
    assert state.position.kept_from == 20


def test_a_future_event_is_remembered_as_long_as_the_feed_shows_it() -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    ahead = item(1, 1000 * SECOND, "a")
    topic.commit(state, plan(state, [item(2, SECOND, "a"), ahead], server_time=2 * SECOND))
    topic.commit(state, plan(state, [item(3, 500 * SECOND)], keep=300 * SECOND))
    assert "seg/default/1" not in topic.live, "its segment expired"
    for there in (state, topic.read()):
        batch = plan(there, [ahead, item(4, 600 * SECOND, "a")])
        assert fresh(batch) == [4]
        assert batch.fresh[0].late, "an event of its run dated later was published before"


@pytest.mark.parametrize("length", [LONGEST_RUN_ID, LONGEST_RUN_ID + 1, 900_000])
def test_a_run_with_a_long_id_does_not_swell_the_checkpoint(length: int) -> None:
    state, topic = Checkpoint("default", FEED), Topic()
    run_id = "x" * length
    topic.commit(state, plan(state, [item(1, 10, run_id)]))
    assert len(topic.live["seg/default/1"]) < 300
    batch = plan(topic.read(), [item(2, 5, run_id), item(3, 5, "x")])
    assert [one.late for one in batch.fresh] == [True, False]


def test_the_digest_of_an_event_is_of_both_ids() -> None:
    pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("bc", "a")]
    assert len({digest(*pair) for pair in pairs}) == len(pairs)
    assert len(digest("\ud800", "lone surrogates as well")) == 16
