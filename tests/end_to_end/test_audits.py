"""On a real broker: what the feed alone cannot tell, and the lists of the runs can."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.kafka import read_topic
from support.stage import Stage, wait_for
from support.work import LATENESS, Work, at_work

from bridge.clock import SECOND, Clock

pytestmark = pytest.mark.parametrize("kafka", ["real"], indirect=True)

AUDITED = {"BRIDGE_SOURCE__AUDIT_INTERVAL": "2"}
LONG_AGO = [
    pytest.param(LATENESS * 3, id="later than the lateness"),
    pytest.param(600.0, id="later than it can become"),
    pytest.param(Clock().now() / SECOND, id="of 1970"),
]


@pytest.fixture(scope="module")
def work(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with at_work(kafka, tmp_path_factory.mktemp("work"), **AUDITED) as made:
        yield made


def audit_records(scene: Stage) -> list[Any]:
    topic = f"{scene.prefix}.audit"
    with verdict.decoder(scene.registry_url, topic) as decode:
        return [decode(record.value or b"") for record in read_topic(scene.broker, topic)]


def cancel(scene: Stage, run_id: str) -> None:
    """End a run."""
    (mission_id,) = {e["mission_id"] for e in scene.events() if e["run_id"] == run_id}
    path = f"/v2/ai/missions/{mission_id}/runs/{run_id}/cancel"
    key = {"authorization": "Bearer key"}
    reply = scene.api.call(lambda: scene.simulator.handle("POST", path, "", key))
    assert reply.status == 200, reply.body


@pytest.mark.parametrize("ago", LONG_AGO)
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_an_event_later_than_sweeps_reach_is_found_in_the_list_of_its_run(
    work: Work, ago: float, *, ended: bool
) -> None:
    scene = work.scene
    (first,) = scene.insert()
    work.expect_exact()
    late = verdict.of(scene).late
    if ended:
        cancel(scene, first["run_id"])
    scene.insert(2, run_id=first["run_id"], ago=ago)
    work.expect_exact()
    assert verdict.of(scene).late == late + 2


def test_a_feed_cut_off_during_an_outage_is_repaired_from_the_lists_of_the_runs(
    kafka: Broker, tmp_path: Path
) -> None:
    with at_work(kafka, tmp_path, **AUDITED) as work:
        work.scene.control("behaviour", {"newest_only": 200})
        before = wait_for(lambda: work.bridge.metric("bridge_feed_gaps_closed_total"))
        work.scene.api.stop()
        work.scene.insert(700, runs=3)
        work.scene.api.start()
        work.expect_exact()
        assert work.bridge.metric("bridge_feed_gaps_total") == 1
        wait_for(lambda: work.bridge.metric("bridge_feed_gaps_closed_total") == before + 1)
        told = [one for one in audit_records(work.scene) if one["gap"] is not None][-2:]
        assert [one["kind"] for one in told] == ["gap", "gap_closed"]
        assert (told[1]["gap"]["found"], told[1]["gap"]["unread"]) == (500, 0)


def test_an_answer_out_of_a_cache_is_not_taken_for_news(work: Work) -> None:
    scene, name = work.scene, "bridge_api_stale_pages_total"
    before = work.bridge.metric(name)
    scene.control("faults", {"kind": "stale", "seconds": LATENESS, "age": True})
    scene.insert(10)
    wait_for(lambda: work.bridge.metric(name) > before + 3)
    scene.control("reset-faults", {})
    work.expect_exact()


def test_an_event_that_changed_is_counted_and_not_published_again(work: Work) -> None:
    (event,) = work.scene.insert()
    work.expect_exact()
    before = work.bridge.metric("bridge_events_mutated_total")
    change = {"event_id": event["event_id"], "fields": {"summary": "It was otherwise"}}
    work.scene.control("change-event", change)
    wait_for(lambda: work.bridge.metric("bridge_events_mutated_total") > before)
    work.expect_exact()
    assert work.bridge.metric("bridge_events_mutated_total") == before + 1
    told = [one["event"] for one in audit_records(work.scene) if one["kind"] == "mutated"]
    assert told == [{"run_id": event["run_id"], "event_id": event["event_id"]}]
