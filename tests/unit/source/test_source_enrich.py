"""Which mission a run belongs to: looked up once, not held back for."""

from __future__ import annotations

import httpx
import pytest
import stamina
from source_bench import SteppedClock, client_on, run

from bridge.clock import Clock
from bridge.errors import ApiError
from bridge.source.writing import mission_index
from bridge.source.writing.mission_index import PAGE, PAGES, UNKNOWN_FOR, MissionIndex


class Runs:
    """The list of recent runs."""

    def __init__(self, count: int) -> None:
        self.rows = [run(n) for n in range(count)]
        self.asked: list[int] = []
        self.broken = False

    def handle(self, request: httpx.Request) -> httpx.Response:
        if self.broken:
            return httpx.Response(503)
        assert request.url.path == "/v2/ai/missions/runs"
        page, size = (int(request.url.params[f"page[{name}]"]) for name in ("number", "size"))
        self.asked.append(page)
        meta = {
            "page_number": page,
            "page_size": size,
            "total_pages": -(-len(self.rows) // size),
            "total_results": len(self.rows),
        }
        shown = self.rows[(page - 1) * size : page * size]
        return httpx.Response(200, json={"data": shown, "meta": meta})


def index_on(runs: Runs, clock: Clock | None = None) -> MissionIndex:
    clock = clock or SteppedClock()
    return MissionIndex(client_on(runs.handle, clock), clock, "default")


async def test_a_run_is_looked_up_once() -> None:
    runs = Runs(3)
    index = index_on(runs)
    assert index.get("run-1") is None
    await index.learn({"run-1", "run-2"})
    assert index.get("run-1") == "mission-of-run-1"
    await index.learn({"run-0", "run-1", "run-2"})
    assert runs.asked == [1]


async def test_pages_are_read_until_all_are_found() -> None:
    runs = Runs(3 * PAGE)
    index = index_on(runs)
    await index.learn({"run-5"})
    assert runs.asked == [1]
    await index.learn({"run-7", f"run-{PAGE + 5}"})
    assert runs.asked == [1, 1, 2]
    assert index.get(f"run-{PAGE + 5}") == f"mission-of-run-{PAGE + 5}"


async def test_the_list_is_not_read_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mission_index, "PAGE", 2)
    runs = Runs(3 * PAGES)
    await index_on(runs).learn({"nobody"})
    assert runs.asked == list(range(1, PAGES + 1))


async def test_an_unknown_run_is_asked_for_again_after_a_while() -> None:
    runs, clock = Runs(2), SteppedClock()
    index = index_on(runs, clock)
    await index.learn({"run-9"})
    await index.learn({"run-9"})
    assert runs.asked == [1]
    runs.rows.insert(0, run(9))
    clock.pass_by(UNKNOWN_FOR + 1)
    await index.learn({"run-9"})
    assert runs.asked == [1, 1]
    assert index.get("run-9") == "mission-of-run-9"


async def test_a_row_without_a_run_is_not_looked_up() -> None:
    runs = Runs(1)
    await index_on(runs).learn({""})
    assert runs.asked == []


async def test_a_list_that_fails_is_told_and_asked_for_again() -> None:
    runs = Runs(1)
    index = index_on(runs)
    runs.broken = True
    with stamina.set_testing(True, attempts=1), pytest.raises(ApiError):
        await index.learn({"run-0"})
    runs.broken = False
    await index.learn({"run-0"})
    assert index.get("run-0") == "mission-of-run-0"


async def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mission_index, "KNOWN", 100)
    index = index_on(Runs(500))
    await index.learn({"run-0"})
    assert len(index._missions) == 100
