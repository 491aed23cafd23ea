"""What a source makes of answers that say odd things about themselves, or nothing at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from source_bench import Bench

Change = Callable[[dict[str, Any], int, int], None]
"""Alters the document of a list, given the page and the size that were asked for."""


def altered(bench: Bench, change: Change, path: str = "/events") -> None:
    """Let a list of the API answer otherwise."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith(path):
            return None
        target = request.url.raw_path.decode()
        reply = bench.api.simulator.handle(
            "GET", target.partition("?")[0], request.url.query.decode(), dict(request.headers), b""
        )
        document = json.loads(reply.body)
        if reply.status == 200:
            number, size = (int(request.url.params[f"page[{n}]"]) for n in ("number", "size"))
            change(document, number, size)
        text = json.dumps(document)
        return httpx.Response(reply.status, headers={"date": _date(reply.headers)}, text=text)

    bench.api.script = answer


def _date(headers: Any) -> str:
    found: str = {name.lower(): value for name, value in dict(headers).items()}["date"]
    return found


def meta(**fields: Any) -> Change:
    return lambda document, _number, _size: document["meta"].update(fields)


def no_meta(document: dict[str, Any], _number: int, _size: int) -> None:
    del document["meta"]


def rows_as_size(document: dict[str, Any], _number: int, _size: int) -> None:
    document["meta"]["page_size"] = len(document["data"])


def rows_as_size_and_no_totals(document: dict[str, Any], _number: int, _size: int) -> None:
    document["meta"] = {"page_size": len(document["data"])}


def text_everywhere(document: dict[str, Any], _number: int, _size: int) -> None:
    document["meta"] = {name: str(value) for name, value in document["meta"].items()}


def nothing_where_empty(document: dict[str, Any], _number: int, _size: int) -> None:
    if not document["data"]:
        document["data"] = None
        document["meta"] |= {"page_number": 0, "page_size": 0, "total_results": None}


ODD: dict[str, Change] = {
    "no totals": meta(total_pages=None, total_results=None),
    "absurd totals": meta(total_pages=10**400, total_results=10**400),
    "negative totals": meta(total_pages=-1, total_results=-1),
    "totals of none": meta(total_pages=0, total_results=0),
    "totals too low": meta(total_pages=1, total_results=1),
    "no meta": no_meta,
    "no page number": meta(page_number=None),
    "no page size": meta(page_size=None),
    "an absurd page size": meta(page_size=10**400),
    "a larger page size": meta(page_size=2000),
    "rows as page size": rows_as_size,
    "rows as page size, no totals": rows_as_size_and_no_totals,
    "text": text_everywhere,
    "nothing where empty": nothing_where_empty,
}


@pytest.mark.parametrize("size", [50, 1000])
@pytest.mark.parametrize("events", [0, 30, 700])
@pytest.mark.parametrize("odd", ODD)
async def test_odd_words_of_a_page_about_itself_change_nothing(
    odd: str, events: int, size: int
) -> None:
    bench = Bench(events=events, page_size=size)
    altered(bench, ODD[odd])
    await bench.catch_up()
    for _ in range(3):
        bench.api.insert(7)
        await bench.later(100)
    bench.assert_exact()
    assert bench.poller.checkpoint.position.frontier is not None
    assert max(asked for _, asked in bench.api.feed_requests()) == size


async def test_the_end_is_found_where_totals_are_far_too_high() -> None:
    bench = Bench(events=700)
    altered(bench, meta(total_pages=10**6, total_results=10**9))
    await bench.catch_up()
    bench.assert_exact()
    assert bench.poller.checkpoint.position.frontier is not None
    assert len(bench.api.feed_requests()) < 1000


@pytest.mark.parametrize("odd", ["no totals", "no meta", "rows as page size, no totals"])
async def test_a_list_that_begins_with_the_oldest_needs_no_totals_either(odd: str) -> None:
    bench = Bench(events=700, behaviour={"order": "oldest"})
    altered(bench, ODD[odd])
    await bench.catch_up()
    for _ in range(3):
        bench.api.insert(7)
        await bench.later(100)
    bench.assert_exact()
    assert bench.poller.checkpoint.position.frontier is not None


async def test_what_was_learned_of_page_sizes_is_forgotten_when_it_is_refused() -> None:
    bench = Bench(events=300, page_size=200, behaviour={"max_page_size": 60})
    await bench.catch_up()
    bench.api.simulator.control("behaviour", {"max_page_size": 1000})
    asked: list[int] = []

    def no_small_pages(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/events"):
            return None
        asked.append(int(request.url.params["page[size]"]))
        error = {"errors": [{"code": "10015", "title": "Bad Request"}]}
        return httpx.Response(400, json=error) if asked[-1] <= 60 else None

    bench.api.script = no_small_pages
    bench.api.insert(3)
    await bench.later(100)
    bench.assert_exact()
    assert asked[:2] == [60, 200]


async def test_pages_larger_than_asked_are_read_without_asking_for_more() -> None:
    bench = Bench(events=700, page_size=50)
    everything: list[dict[str, Any]] = []

    def of_120(document: dict[str, Any], number: int, _size: int) -> None:
        everything[:] = _whole(bench)
        document["data"] = everything[(number - 1) * 120 : number * 120]
        document["meta"] |= {"page_size": 120, "total_results": len(everything)}

    altered(bench, of_120)
    await bench.catch_up()
    bench.api.insert(5)
    await bench.later(100)
    bench.assert_exact()
    assert {asked for _, asked in bench.api.feed_requests()} == {50}


def _whole(bench: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number in range(1, 1000):
        query = f"page[number]={number}&page[size]=1000"
        key = {"authorization": "Bearer KEY0123456789ABCDEF"}
        path = "/v2/ai/missions/events"
        reply = bench.api.simulator.handle("GET", path, query, key, b"")
        rows = json.loads(reply.body)["data"]
        if not rows:
            return found
        found += rows
    raise AssertionError


@pytest.mark.parametrize("field", ["started_at", "updated_at", "mission_id", "status", "run_id"])
async def test_a_run_that_does_not_fit_costs_the_others_nothing(field: str) -> None:
    bench = Bench(events=300)
    odd: list[str] = []

    def without(document: dict[str, Any], _number: int, _size: int) -> None:
        if document["data"]:
            odd.append(document["data"][0]["run_id"])
            document["data"][0][field] = None

    altered(bench, without, "/runs")
    await bench.catch_up()
    await bench.later(100)
    bench.assert_exact()
    assert odd
    unknown = {e["run_id"] for e in bench.topics.events() if e["mission_id"] is None}
    assert unknown == ({odd[0]} if field in ("mission_id", "run_id") else set())


async def test_a_refused_list_of_runs_holds_no_event_back() -> None:
    bench = Bench(events=300)
    refusal = httpx.Response(403, json={"errors": [{"code": "10010", "title": "No"}]})
    bench.api.script = lambda request: refusal if request.url.path.endswith("/runs") else None
    await bench.catch_up()
    await bench.later(100)
    bench.assert_exact()
