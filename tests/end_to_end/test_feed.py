"""On a real broker: a list that moves while it is read, a wrong clock, and events that come late.

Nothing is lost of what any list still shows, and nothing is published twice.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.stage import Stage, stage, wait_for
from support.work import HURRIED, LATENESS, NO_AUDITS, Work, at_work

pytestmark = pytest.mark.parametrize("kafka", ["real"], indirect=True)


@pytest.fixture(scope="module")
def work(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with at_work(kafka, tmp_path_factory.mktemp("work"), NO_AUDITS) as made:
        yield made


def moves(scene: Stage) -> bool:
    """Whether the list still moves between two pages."""
    return any(fault["kind"] == "drift" for fault in scene.control("faults")["faults"])


def test_a_list_that_moves_between_two_pages_loses_nothing(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """Events appear and missions vanish before a page is read, and the totals are nonsense."""
    with stage(kafka, topic_prefix, tmp_path, events=3000, faults=[NO_AUDITS]) as scene:
        drift = [
            {"kind": "drift", "insert": 3, "every": 2, "times": 60},
            {"kind": "drift", "delete": 1, "every": 5, "times": 12},
        ]
        totals = [
            {"kind": "echo", "total_results": 0, "total_pages": 0, "every": 2},
            {"kind": "echo", "total_results": 10**9, "total_pages": 10**6},
        ]
        scene.control("faults", [*drift, *totals])
        bridge = scene.run("--only", "events", **HURRIED).ready()
        wait_for(lambda: not moves(scene))
        verdict.expect_exact(scene, bridge)
        assert bridge.metric("bridge_sweeps_total", kind="climb") >= 1
        assert any(event["deleted_at"] for event in scene.events())
        assert bridge.stop() == 0


def test_missions_that_vanish_while_an_outage_is_caught_up_take_no_others_with_them(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    """What is read then lies below the next sweeps: a page that is missed is missed for good."""
    with stage(kafka, topic_prefix, tmp_path, faults=[NO_AUDITS]) as scene:
        scene.insert(10, ago=100)
        bridge = scene.run("--only", "events", **HURRIED).ready()
        verdict.expect_exact(scene, bridge)
        scene.api.stop()
        for ago in range(90, 10, -10):
            scene.insert(90, ago=ago)
        scene.control("faults", {"kind": "drift", "delete": 1, "every": 2, "times": 3})
        scene.api.start()
        wait_for(lambda: not moves(scene))
        verdict.expect_exact(scene, bridge)
        assert sum(event["deleted_at"] is not None for event in scene.events()) > 100
        assert bridge.stop() == 0


def test_an_event_that_appears_late_is_published_and_marked(work: Work) -> None:
    (first,) = work.scene.insert()
    work.expect_exact()
    late = verdict.of(work.scene).late
    work.scene.insert(3, run_id=first["run_id"], ago=LATENESS / 2)
    work.expect_exact()
    assert verdict.of(work.scene).late == late + 3


def test_pages_of_the_servers_own_size_lose_nothing(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=1500, faults=[NO_AUDITS]) as scene:
        scene.control("behaviour", {"page_size": 70})
        scene.control("faults", {"kind": "drift", "insert": 2, "every": 3, "times": 20})
        bridge = scene.run("--only", "events", **HURRIED).ready()
        wait_for(lambda: not moves(scene))
        verdict.expect_exact(scene, bridge)
        scene.insert(200, runs=2)
        verdict.expect_exact(scene, bridge)
        assert bridge.stop() == 0


@pytest.mark.parametrize("offset", [3600, -3600], ids=["ahead", "behind"])
def test_a_clock_of_the_server_that_is_always_wrong_loses_nothing(
    kafka: Broker, topic_prefix: str, tmp_path: Path, offset: int
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=50, faults=[NO_AUDITS]) as scene:
        scene.control("behaviour", {"date_offset": offset})
        bridge = scene.run("--only", "events", **HURRIED).ready()
        verdict.expect_exact(scene, bridge)
        scene.insert(10)
        verdict.expect_exact(scene, bridge)
        scene.insert(5, ago=LATENESS / 2)
        verdict.expect_exact(scene, bridge)
        scene.insert(1500)
        verdict.expect_exact(scene, bridge)
        assert bridge.stop() == 0


@pytest.mark.parametrize("order", ["oldest", "created", "id"])
def test_a_feed_in_another_order_loses_nothing(work: Work, order: str) -> None:
    scene, name = work.scene, "bridge_feed_order_violations_total"
    before = work.bridge.metric(name)
    scene.control("behaviour", {"order": order})
    scene.insert(150, runs=2)
    work.expect_exact()
    scene.insert(5, ago=LATENESS / 2)
    scene.insert(150, runs=2)
    work.expect_exact()
    if order != "oldest":
        wait_for(lambda: work.bridge.metric(name) > before)


def test_two_replicas_of_which_one_is_behind_lose_nothing(work: Work) -> None:
    scene = work.scene
    scene.control("faults", {"kind": "stale", "seconds": LATENESS / 3, "every": 2})
    scene.control("behaviour", {"rate": 50})
    goal = work.bridge.published + 150
    wait_for(lambda: work.bridge.published >= goal)
    scene.quiet()
    work.expect_exact()


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param({"date_offset": 3600}, id="an hour ahead"),
        pytest.param({"date_offset": -3600}, id="an hour behind"),
        pytest.param({"date": False}, id="none"),
    ],
)
def test_a_wrong_clock_of_the_server_loses_nothing(work: Work, clock: dict[str, Any]) -> None:
    frontier = work.bridge.source()["frontier"]
    for behaviour in (clock, {"date_offset": 0, "date": True}):
        work.scene.control("behaviour", behaviour)
        work.scene.insert(10)
        work.expect_exact()
        work.scene.insert(5, ago=LATENESS / 2)
        work.expect_exact()
        assert work.bridge.source()["frontier"] >= frontier, "it went back"
        frontier = work.bridge.source()["frontier"]


def test_a_backlog_is_climbed_once_although_the_clock_was_slow_before(work: Work) -> None:
    work.scene.control("behaviour", {"date_offset": -3600})
    work.scene.insert()
    work.expect_exact()
    work.scene.control("behaviour", {"date_offset": 0})
    before = work.bridge.metric("bridge_sweeps_total", kind="climb")
    work.scene.insert(1500)
    work.expect_exact()
    # Another one may be due as soon as it is over, when all is within the lateness window.
    assert work.bridge.metric("bridge_sweeps_total", kind="climb") - before < 5


@pytest.mark.parametrize(("count", "shuffled"), [(500, True), (5000, False)])
def test_equal_timestamps_on_many_pages_lose_nothing(
    work: Work, count: int, *, shuffled: bool
) -> None:
    work.scene.control("behaviour", {"shuffle_ties": shuffled})
    work.scene.insert(count, tie=True, runs=3)
    work.scene.insert(10)
    work.expect_exact()


def test_a_server_that_makes_its_pages_smaller_is_followed(work: Work) -> None:
    work.scene.control("behaviour", {"max_page_size": 60})
    work.scene.insert(500, runs=3)
    work.expect_exact()
    assert not work.bridge.reason
