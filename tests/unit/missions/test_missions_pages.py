from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from missions_fakes import MISSION, RUN, FakeClock, answering, client_on, event, ok, page, run

from bridge import metrics
from bridge.clock import SECOND
from bridge.errors import ApiError
from bridge.missions import jsontext
from bridge.missions.events import event_of
from bridge.missions.jsontext import Raw
from bridge.missions.models import Event, Malformed, Page, Run

pytestmark = pytest.mark.usefixtures("one_attempt")


async def events(answer: httpx.Response, number: int = 1) -> Page[Event | Malformed]:
    handler, _ = answering(answer)
    async with client_on(handler, clock=FakeClock()) as client:
        return await client.list_events(page=number)


def raw_page(*elements: str) -> httpx.Response:
    meta = '{"page_number":1,"page_size":1000,"total_pages":1,"total_results":1}'
    return httpx.Response(200, text=f'{{"data":[{",".join(elements)}],"meta":{meta}}}')


async def test_a_page_says_what_was_asked_and_when() -> None:
    headers = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "age": "12"}
    found = await events(page([event(1), event(2)], 7, 50, headers), 7)

    assert [item.event_id for item in found.items if isinstance(item, Event)] == [
        "event-1",
        "event-2",
    ]
    assert (found.number, found.size, found.total_pages, found.total_results) == (7, 50, 1, 1)
    assert found.date == 1_445_412_480 * SECOND
    assert found.age == 12
    assert (found.sent, found.took) == (1_000, 0)


@pytest.mark.parametrize("headers", [{}, {"date": "never", "age": "-1"}, {"age": "9" * 5_000}])
async def test_headers_that_say_nothing_are_absent(headers: dict[str, str]) -> None:
    found = await events(page([], headers=headers))

    assert (found.date, found.age) == (None, None)


async def test_a_smaller_page_size_is_reported() -> None:
    assert (await events(page([event()], size=100))).size == 100


async def test_the_feed_of_an_empty_organization_is_a_page() -> None:
    meta = {"total_pages": 0, "total_results": 0, "page_number": 1, "page_size": 50}
    found = await events(httpx.Response(200, json={"data": [], "meta": meta}))

    assert (found.items, found.total_results) == ((), 0)


META: dict[str, Any] = {"page_number": 1, "page_size": 1_000, "total_pages": 1, "total_results": 1}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"meta": META},
        {"data": None},
        {"data": None, "meta": None},
        {"data": {}, "meta": META},
        {"data": None, "meta": META, "errors": [{"code": "10007"}]},
        {"data": [], "meta": {**META, "page_number": 2}},
        {"data": [event(1)], "meta": META | {"page_number": 2}},
        {"data": [event(1)], "meta": META | {"page_number": "2"}},
        {"data": [event(1)], "meta": META | {"page_number": 0}},
    ],
)
async def test_what_is_no_page_or_another_one_is_refused(document: Any) -> None:
    with pytest.raises(ApiError) as caught:
        await events(httpx.Response(200, json=document))

    assert caught.value.executed is None


@pytest.mark.parametrize(
    "document",
    [
        {"data": []},
        {"data": [], "meta": None},
        {"data": None, "meta": META},
        {"data": [], "meta": META | {"page_number": 0, "page_size": 0}},
        {"data": [], "meta": META | {"page_number": 1, "total_pages": 1}},
        {"data": [], "meta": dict.fromkeys(META)},
    ],
)
async def test_an_empty_page_in_any_form_is_empty(document: Any) -> None:
    assert (await events(httpx.Response(200, json=document), 2)).items == ()


ABSURD = ["", "many", "-1", -1, 1.5, True, [], {}, None, 10**400, "9" * 400, 10**9 + 1]


@pytest.mark.parametrize("absurd", ABSURD, ids=lambda value: repr(value)[:12])
async def test_what_a_page_says_of_itself_is_bounded_or_counts_as_not_said(absurd: Any) -> None:
    meta = dict.fromkeys(META, absurd)
    found = await events(httpx.Response(200, text=json.dumps({"data": [event(1)], "meta": meta})))

    assert len(found.items) == 1
    assert (found.number, found.size, found.total_pages, found.total_results) == (1, *[None] * 3)


async def test_counts_may_be_written_as_text_or_with_a_point() -> None:
    meta = {"page_number": "1", "page_size": "0050", "total_pages": 3.0, "total_results": "120"}
    found = await events(httpx.Response(200, json={"data": [event(1)], "meta": meta}))

    assert (found.size, found.total_pages, found.total_results) == (50, 3, 120)


async def test_a_page_size_below_the_number_of_rows_says_nothing() -> None:
    assert (await events(page([event(1), event(2)], size=1))).size is None


@pytest.mark.parametrize(("text", "age"), [("0", 0), ("12", 12), ("007", 7), ("9" * 19, None)])
async def test_an_absurd_age_says_nothing(text: str, age: int | None) -> None:
    assert (await events(page([], headers={"age": text}))).age == age


async def test_a_page_cut_at_any_byte_is_refused() -> None:
    whole = json.dumps({"data": [event(1), event(2)], "meta": META}).encode()
    for length in range(0, len(whole), 7):
        with pytest.raises(ApiError):
            await events(httpx.Response(200, content=whole[:length]))


GOOD = json.dumps(event(1))


@pytest.mark.parametrize(
    "bad",
    [
        "null",
        "7",
        '"text"',
        "[]",
        "{}",
        json.dumps(event(2, event_id=None)),
        json.dumps(event(2, event_id=7.5)),
        json.dumps(event(2, event_id=[7])),
        json.dumps(event(2, timestamp=7)),
        json.dumps(event(2, summary={"x": [1]})),
        json.dumps(event(2, event_id="\ud800")),
        json.dumps(event(2, summary="\udfff")),
    ],
)
async def test_what_is_no_event_keeps_its_place_and_its_text(bad: str) -> None:
    first, second, third = (await events(raw_page(GOOD, bad, GOOD))).items

    assert isinstance(first, Event)
    assert isinstance(third, Event)
    assert isinstance(second, Malformed)
    assert second.error
    assert json.loads(jsontext.dumps(second.raw)) == json.loads(bad)
    assert event_of(jsontext.dumps(second.raw).encode()) == second
    jsontext.dumps(second.raw).encode()


@pytest.mark.parametrize(
    "bad",
    [
        '{"payload": NaN}',
        '{"payload": ' + "[" * 10_000 + "]" * 10_000 + "}",
        "gibberish",
    ],
)
async def test_what_is_no_json_keeps_its_place_and_its_text(bad: str) -> None:
    first, second, third = (await events(raw_page(GOOD, bad, GOOD))).items

    assert isinstance(first, Event)
    assert isinstance(third, Event)
    assert isinstance(second, Malformed)
    assert second.raw == Raw(bad)


async def test_unknown_types_extra_fields_and_odd_numbers_are_an_event() -> None:
    odd = '{"type":"dream","colour":{"n":1.10},"payload":{"n":1e400,"m":' + "9" * 5_000 + "}}"
    text = json.dumps(event(1) | {"type": "x", "payload": None})[:-1] + "," + odd[1:]
    (found,) = (await events(raw_page(text))).items

    assert isinstance(found, Event)
    assert found.type == "dream"
    assert found.payload == '{"n":1e400,"m":' + "9" * 5_000 + "}"
    assert found.extra == '{"colour":{"n":1.10}}'


async def test_a_payload_keeps_its_lone_surrogates_as_escapes() -> None:
    (found,) = (await events(raw_page(json.dumps(event(1, payload={"x": "\ud800"}))))).items

    assert isinstance(found, Event)
    assert found.payload == '{"x": "\\ud800"}'


@pytest.mark.parametrize("field", ["mission_id", "status", "started_at", "updated_at"])
@pytest.mark.parametrize("value", [None, 7, ["x"]])
async def test_a_run_without_a_field_that_can_be_read_is_still_a_run(
    field: str, value: object
) -> None:
    handler, _ = answering(page([run(), run(**{field: value})]))
    async with client_on(handler) as client:
        _, found = (await client.list_recent_runs()).items

    assert isinstance(found, Run)
    assert getattr(found, field) is None
    assert found.run_id == RUN


@pytest.mark.parametrize("bad", ["null", "7", "[]", "{}", "NaN", json.dumps(run(run_id=None))])
async def test_a_row_that_is_no_run_is_counted_and_keeps_its_place(bad: str) -> None:
    def counted() -> float:
        labels = {"kind": "Run", "left_out": "row"}
        return metrics.METRICS.get_sample_value("bridge_api_rows_unfit_total", labels) or 0.0

    good, before = json.dumps(run()), counted()
    handler, _ = answering(raw_page(good, bad, good))
    async with client_on(handler) as client:
        first, second, third = (await client.list_recent_runs()).items

    assert isinstance(first, Run)
    assert isinstance(third, Run)
    assert isinstance(second, Malformed)
    assert counted() == before + 1


async def test_a_single_object_needs_no_more_than_its_id() -> None:
    handler, _ = answering(ok({"data": {"run_id": RUN, "status": {"is": "odd"}}}))
    async with client_on(handler) as client:
        found = await client.get_run(MISSION, RUN)

    assert (found.run_id, found.status, found.mission_id) == (RUN, None, None)


async def test_a_message_about_a_bad_answer_does_not_repeat_its_content() -> None:
    handler, _ = answering(ok({"data": {"run_id": None, "status": "secret"}}))
    async with client_on(handler) as client:
        with pytest.raises(ApiError) as caught:
            await client.get_run(MISSION, RUN)

    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 500
