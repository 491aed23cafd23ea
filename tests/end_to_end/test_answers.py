"""Answers of the API that are wrong, late, hostile or none at all, on a real broker.

One bridge lives through most of them, one after the other. While they come nothing is published and
readiness says why; afterwards everything is published, once.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import verdict
from support.brokers import Broker
from support.stage import stage, wait_for
from support.work import HURRIED, Work, at_work

pytestmark = pytest.mark.parametrize("kafka", ["real"], indirect=True)

HTML = "<html><body>Please stand by</body></html>"
EMPTY = '{"data":[],"meta":{"total_pages":0,"total_results":0,"page_number":1,"page_size":1000}}'


@pytest.fixture(scope="module")
def work(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    with at_work(kafka, tmp_path_factory.mktemp("work")) as made:
        yield made


def expect_held_up(work: Work, fault: dict[str, Any], told: str) -> None:
    """Let new events come with a fault: it is told, nothing is published; without it all is."""
    scene, bridge = work.scene, work.bridge
    before, lines = bridge.published, bridge.output.count("\n")
    scene.control("faults", {"operation": "list_events", **fault})
    scene.insert(20, runs=2)
    wait_for(lambda: told in bridge.reason)
    assert bridge.published == before
    scene.control("reset-faults", {})
    wait_for(lambda: not bridge.reason)
    work.expect_exact()
    assert bridge.output.count("\n") - lines <= 6, "the log is flooded"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_an_error_is_told_and_waited_out(work: Work, status: int) -> None:
    expect_held_up(work, {"kind": "status", "status": status}, str(status))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param({"kind": "slow", "seconds": 30}, "timeout", id="later than the time-out"),
        pytest.param({"kind": "slow", "pace": 1}, "timeout", id="one byte a second"),
        pytest.param({"kind": "withhold"}, "timeout", id="none"),
        pytest.param({"kind": "drop"}, "nobody knows", id="the connection is reset"),
        pytest.param({"kind": "cut"}, "protocol", id="shorter than it says"),
        pytest.param({"kind": "overrun"}, "no JSON", id="longer than it says"),
        pytest.param({"kind": "body", "text": HTML}, "no JSON", id="HTML"),
        pytest.param({"kind": "body", "text": ""}, "no JSON", id="empty"),
        pytest.param({"kind": "body", "text": EMPTY[:60]}, "no JSON", id="half of the JSON"),
        pytest.param({"kind": "body", "text": '{"data":7}'}, "no list", id="data is a number"),
        pytest.param({"kind": "echo"}, "instead of", id="another page"),
    ],
)
def test_an_answer_that_cannot_be_used_is_rejected_whole(
    work: Work, fault: dict[str, Any], told: str
) -> None:
    expect_held_up(work, fault, told)


def test_no_connection_is_left_behind_by_answers_that_never_end(work: Work) -> None:
    def connections() -> int:
        return len(list(Path(f"/proc/{work.bridge.process.pid}/fd").iterdir()))

    before = connections()
    asked = work.bridge.metric("bridge_api_requests_total", status="timeout")
    work.scene.control("faults", {"operation": "list_events", "kind": "slow", "pace": 1})
    wait_for(lambda: work.bridge.metric("bridge_api_requests_total", status="timeout") >= asked + 3)
    work.scene.control("reset-faults", {})
    work.scene.insert(5)
    work.expect_exact()
    wait_for(lambda: connections() <= before)


def test_a_gzip_bomb_is_given_up_before_it_fills_the_memory(work: Work) -> None:
    before = work.bridge.peak_memory
    expect_held_up(work, {"kind": "bomb", "megabytes": 512}, "unreadable")
    assert work.bridge.peak_memory - before < 200


def test_a_redirect_to_another_host_gets_neither_request_nor_key(work: Work) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = f"http://127.0.0.1:{other.getsockname()[1]}/v2/ai/missions/events"
        fault = {"kind": "status", "status": 307, "headers": {"location": where}}
        expect_held_up(work, fault, "never followed")
        other.settimeout(0)
        with pytest.raises(BlockingIOError):
            other.accept()


def test_too_many_requests_are_waited_out_whatever_the_answer_asks_for(work: Work) -> None:
    scene, bridge = work.scene, work.bridge
    asked_for = ["soon", None, "0", "-5", "Thu, 01 Jan 1970 00:00:00 GMT"]
    waited = bridge.metric("bridge_api_wait_seconds_total")
    refuse = {"operation": "list_events", "kind": "status", "status": 429, "times": 1}
    scene.control("faults", [{**refuse, "retry_after": text} for text in asked_for])
    scene.insert(20)
    work.expect_exact()
    refused = scene.api.call(scene.simulator.ledger)["requests"]["list_events"]["429"]
    assert refused == len(asked_for)
    assert bridge.metric("bridge_api_wait_seconds_total") - waited >= len(asked_for)


def test_an_absurd_wait_is_cut_to_a_minute(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=50) as scene:
        bridge = scene.run("--only", "events", **HURRIED).ready()
        verdict.expect_exact(scene, bridge)
        fault = {"kind": "status", "status": 429, "times": 1, "retry_after": "1000000000"}
        scene.control("faults", {"operation": "list_events", **fault})
        wait_for(lambda: "429" in bridge.reason)
        assert 59 < bridge.metric("bridge_api_wait_seconds_total") <= 60
