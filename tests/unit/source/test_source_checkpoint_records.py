"""The records of a checkpoint: read back the same, refused when damaged, written on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_codec import CHECKPOINT, CODEC, decode
from source_lists import item
from source_state import FEED, Topic, filled, fresh, plan

from bridge.clock import Micros
from bridge.errors import StateError
from bridge.source.checkpoint.position import Climb, Position
from bridge.source.checkpoint.records import VERSION, claim_record, concerns, read_back
from bridge.source.checkpoint.runs import RunSummary
from bridge.source.checkpoint.segment import ENTRY_1, Segment
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.windows import BEGINNING, Item

MOMENTS = st.integers(1, 60)  # the midnight that began 1970 stands for no event at all
EVENT = st.tuples(st.integers(0, 120), MOMENTS)
STEP = st.fixed_dictionaries(
    {
        "events": st.lists(EVENT, max_size=8),
        "server_time": MOMENTS,
        "keep": st.one_of(st.just(BEGINNING), MOMENTS),
        "publish": st.booleans(),
        "frontier": st.one_of(st.none(), MOMENTS),
        "floor": st.sampled_from([None, 5]),
        "climb": st.one_of(
            st.none(), st.builds(Climb, st.one_of(st.just(BEGINNING), MOMENTS), MOMENTS)
        ),
    }
)


@settings(max_examples=150)
@given(st.lists(STEP, max_size=12))
def test_the_records_stand_for_the_state(history: list[dict[str, Any]]) -> None:
    """Whatever happened: same state after a restart, nothing twice, and `late` as promised."""
    state, topic = Checkpoint("default", FEED), Topic()
    times: dict[int, Micros] = {}
    known: set[int] = set()
    newest: dict[str, Micros] = {}
    for step in history:
        events = [
            item(number, times.setdefault(number, at), "abc"[number % 3])
            for number, at in step.pop("events")
        ]
        events.sort(key=lambda one: one.at)
        batch = plan(state, events, **step)
        oldest = max(state.position.oldest, Position(floor=step["floor"]).oldest)
        counts = step["publish"]
        new = {
            n for e in events if (e.at >= oldest or not counts) and (n := _number(e)) not in known
        }
        if step["publish"]:
            assert set(fresh(batch)) == new
            for one in batch.fresh:
                before = newest.get(one.item.run_id, BEGINNING)
                assert one.late == (before > one.item.at)
                newest[one.item.run_id] = max(before, one.item.at)
        known |= new
        topic.commit(state, batch)
        assert topic.read() == state


def _number(one: Item) -> int:
    return int.from_bytes(one.digest, "big")


def test_every_time_in_the_records_can_be_shown() -> None:
    """Readers that turn timestamps into dates take the years 1 to 9999."""
    state, topic = filled()
    runs = {"empty": RunSummary(mission_id="m")}
    made = state.plan([], [], state.position, server_time=1, keep=BEGINNING, runs=runs)
    topic.commit(state, made)
    (run,) = topic.values()["run/default/empty"]["body"][1]["runs"]
    assert run["newest"] == 0
    assert topic.read() == state
    climb = plan(state, [], climb=Climb(BEGINNING, 5))
    topic.commit(state, climb)
    assert topic.values()["frontier/default"]["body"][1]["climb"]["low"] is None
    assert topic.read() == state


def test_a_source_without_records_is_new() -> None:
    state = Topic().read()
    assert state == Checkpoint("default", FEED)
    assert state.is_new
    assert not filled(0)[0].position.frontier


def test_claims_are_no_state() -> None:
    _, topic = filled()
    before = topic.read()
    topic.live["claim/default/1"] = CODEC.encode(CHECKPOINT, claim_record("host/1", 5))
    assert topic.read() == before


def test_only_the_records_of_a_source_concern_it() -> None:
    mine = ["frontier/a", "seg/a/1", "claim/a/x"]
    others = ["frontier/a.b", "frontier/b", "seg/a.b/1", "seg/b/1", "claim/b/x", "seg/a", "a", ""]
    assert [key for key in mine + others if concerns("a", key)] == mine


# Damage

Damage = Callable[[Topic, dict[str, dict[str, Any]]], Any]


def altered(key: str, **fields: Any) -> Damage:
    return lambda _, values: values[key]["body"][1].update(fields)


def swapped(one: str, other: str) -> Damage:
    def swap(_: Topic, values: dict[str, dict[str, Any]]) -> None:
        values[one], values[other] = values[other], values[one]

    return swap


def older_frontier(_: Topic, values: dict[str, dict[str, Any]]) -> None:
    values["frontier/default"] = filled(2)[1].values()["frontier/default"]


DAMAGES: dict[str, tuple[Damage, str]] = {
    "first segment missing": (lambda _, v: v.pop("seg/default/1"), "2 segments are there inst"),
    "middle one missing": (lambda _, v: v.pop("seg/default/2"), "instead of 3; not there: 2"),
    "last segment missing": (lambda _, v: v.pop("seg/default/3"), "instead of 3; not there: 3"),
    "entries altered": (altered("seg/default/2", entries=bytes(28)), "segment 2 was altered"),
    "entries cut": (altered("seg/default/2", entries=bytes(27)), "segment 2 was altered"),
    "batch altered": (altered("seg/default/2", batch=3), "segment 2 was altered"),
    "chain altered": (altered("seg/default/2", chain=bytes(16)), "segment 2 was altered"),
    "segments swapped": (swapped("seg/default/1", "seg/default/2"), "segment 1 was altered"),
    "a frontier for a segment": (
        swapped("seg/default/2", "frontier/default"),
        "frontier holds something else",
    ),
    "a claim for a segment": (
        lambda _, v: v.update({"seg/default/2": claim_record("host", 1)}),
        "segment 2 holds something else",
    ),
    "chain of the frontier altered": (
        altered("frontier/default", chain=bytes(16)),
        "segment 3 is not the newest",
    ),
    "frontier gone": (lambda _, v: v.pop("frontier/default"), "no frontier"),
    "frontier older than its segments": (older_frontier, "older than segment 3"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused(damage: str) -> None:
    _, topic = filled(3)
    values = topic.values()
    harm, message = DAMAGES[damage]
    harm(topic, values)
    with pytest.raises(StateError, match=message) as caught:
        read_back("default", FEED, values)
    assert "docs/OPERATIONS.md" in str(caught.value)
    assert caught.value.exit_code == 78


def test_a_segment_of_another_history_is_refused() -> None:
    _, topic = filled(3)
    other, elsewhere = Checkpoint("default", FEED), Topic()
    for number in range(3):
        elsewhere.commit(other, plan(other, [item(100 + number)]))
    values = topic.values() | {"seg/default/2": elsewhere.values()["seg/default/2"]}
    with pytest.raises(StateError, match="segment 2 does not follow 1"):
        read_back("default", FEED, values)


def test_the_checkpoint_of_another_feed_is_refused() -> None:
    _, topic = filled()
    with pytest.raises(StateError, match=r"another feed.*BRIDGE_SOURCE__NAME"):
        topic.read(feed="fedcba9876543210")


def test_the_checkpoint_of_a_newer_bridge_is_refused() -> None:
    _, topic = filled()
    values = topic.values()
    values["frontier/default"]["version"] = VERSION + 1
    with pytest.raises(StateError, match="newer bridge"):
        read_back("default", FEED, values)


# The version before


def of_version_1() -> dict[str, dict[str, Any]]:
    """Return records as version 1 wrote them: two segments, the first one expired."""
    first, second = item(1, 10, "a"), item(2, 20, "b")
    chain, live = bytes(16), {}
    for number, one in enumerate((first, second), 1):
        entries, runs = ENTRY_1.pack(one.digest, one.at), {one.run_id: one.at}
        before, chain = chain, Segment.link(chain, number, entries, runs)
        segment = {
            "batch": number,
            "entries": entries,
            "settled": one.at,
            "runs": [{"run_id": one.run_id, "newest": one.at}],
            "previous": before,
            "chain": chain,
        }
        live[f"seg/default/{number}"] = value_of_version_1("Segment", segment)
    frontier = {"feed": FEED, "batch": 2, "live": 2, "chain": chain, "frontier": 20, "floor": None}
    frontier |= {"climb": None, "kept_from": 15, "published": 2, "late": 0}
    live["frontier/default"] = value_of_version_1("Frontier", frontier)
    del live["seg/default/1"]
    return {key: decode(CHECKPOINT, CODEC.encode(CHECKPOINT, one)) for key, one in live.items()}


def value_of_version_1(name: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "body": (f"missionbridge.v1.{name}", body)}


def test_the_version_before_is_read_and_written_on() -> None:
    state = read_back("default", FEED, of_version_1())
    assert (state.position.frontier, state.position.kept_from, state.published) == (20, 15, 2)
    assert fresh(plan(state, [item(1, 10, "a"), item(2, 20, "b"), item(3, 30, "b")])) == [3]
    batch = plan(state, [item(4, 19, "b")])
    assert batch.fresh[0].late, "the newest event of its run was in a segment of version 1"
    topic = Topic()
    topic.live = {key: CODEC.encode(CHECKPOINT, one) for key, one in of_version_1().items()}
    topic.commit(state, batch)
    assert topic.read() == state
    assert state.runs["b"].count is None, "how many events it has was not counted"


def test_a_missing_segment_of_the_version_before_is_refused() -> None:
    live = of_version_1()
    del live["seg/default/2"]
    with pytest.raises(StateError, match="not there: 2"):
        read_back("default", FEED, live)


def test_a_much_older_version_is_refused() -> None:
    live = of_version_1()
    live["frontier/default"]["version"] = 0
    with pytest.raises(StateError, match="much older bridge"):
        read_back("default", FEED, live)
