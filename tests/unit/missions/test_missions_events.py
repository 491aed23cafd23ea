"""The fast way and the exact way of reading a page of events: the same, byte for byte."""

from __future__ import annotations

import json
import threading
import tracemalloc
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from missions_fakes import answering, client_on, event, page

from bridge.errors import ApiError
from bridge.missions import answers, jsontext, slices
from bridge.missions.events import MOST_NAMES, EventReader, event_of
from bridge.missions.models import Event, Malformed
from bridge.missions.wire import RawAnswer

META = '{"page_number":1,"page_size":1000,"total_pages":1,"total_results":1}'
BASE = json.dumps(event(1) | {"payload": None})[1:-1]


def body_of(*elements: str | bytes) -> bytes:
    raw = [one if isinstance(one, bytes) else one.encode() for one in elements]
    return b'{"data":[' + b",".join(raw) + b'],"meta":' + META.encode() + b"}"


def exactly(body: bytes) -> list[Event | Malformed]:
    return [event_of(piece) for piece in slices.elements(slices.members(body)["data"])]


def read(body: bytes, reader: EventReader | None = None) -> list[Event | Malformed]:
    reply = RawAnswer("list_events", 200, {}, body, 0.0, 0.0)
    return [*answers.event_page(1, reader or EventReader())(reply).items]


def with_payload(text: str) -> str:
    return f'{{{BASE},"payload":{text}}}'


AS_RECEIVED = {
    "numbers": '{"a":1.10,"b":1e400,"c":-0,"d":' + "9" * 5_000 + "}",
    "white space": '{ "a" :\t[ 1 ,\n2 ] }',
    "escapes": r'{"a":"\u00e9\/\n\"\\","\u0061":"é"}',
    "a name twice": '{"a":1,"a":2}',
    "a pair of surrogates": r'{"a":"\ud83d\ude00"}',
    "an array": "[1,[2]]",
    "text": '"just text"',
    "a number": "1.50",
    "false": "false",
    "empty": "{}",
    "as deep as may be": "[" * 127 + "]" * 127,
    "many brackets in text": json.dumps(["[" * 300, '"{' * 300, "\\"]),
    "other scripts": '{"x":"Grüße 世界 🚀"}',
}


@pytest.mark.parametrize("kind", AS_RECEIVED)
def test_a_payload_of_any_kind_is_the_text_that_was_received(kind: str) -> None:
    text = AS_RECEIVED[kind]
    body = body_of(with_payload(f"  {text} "), with_payload("null"))
    fast = EventReader().read(body)

    assert fast is not None
    assert [one.payload for one in fast[0]] == [text, None]
    assert fast[0] == exactly(body)


EXACT_ONLY: dict[str, str | bytes] = {
    "a lone surrogate": with_payload(r'{"a":"\ud800 [{"}'),
    "not UTF-8": with_payload("X").encode().replace(b"X", b'"\xff"'),
    "too deep": with_payload("[" * 128 + "]" * 128),
    "far too deep": with_payload("[" * 50_000 + "]" * 50_000),
    "no JSON": with_payload("NaN"),
    "no text": with_payload("{}").replace('"type"', '"type": 7, "x"'),
    "no event": "7",
    "a control character": with_payload('"\x01"'),
    "an unknown field": with_payload('{"a":1}')[:-1] + ',"new":{ "b" : 1.0}}',
}


@pytest.mark.parametrize("kind", EXACT_ONLY)
def test_what_is_unexpected_changes_nothing_for_its_neighbours(kind: str) -> None:
    good = with_payload('{ "a": 1.0 }')
    body = body_of(good, EXACT_ONLY[kind], good)

    assert EventReader().read(body) is None
    first, second, third = read(body)
    assert [first] == [third] == read(body_of(good))
    assert isinstance(second, Event) == (kind in ("a lone surrogate", "an unknown field"))
    if isinstance(second, Event):
        (second.payload or "").encode()


def test_an_absent_summary_is_empty_text_and_a_number_serves_as_an_id() -> None:
    fields = event(1) | {"summary": None, "event_id": 12345678901234567890123, "step_id": -7}
    (found,) = read(body_of(json.dumps(fields)))
    del fields["summary"]

    assert isinstance(found, Event)
    assert (found.summary, found.event_id) == ("", "12345678901234567890123")
    assert found.step_id == "-7"
    assert read(body_of(json.dumps(fields))) == [found]


def test_new_fields_are_learned_and_come_out_the_same() -> None:
    strange: dict[str, Any] = {
        "z": 1.5,
        "a b": None,
        "odd$-:/": [1],
        "extra_0": {"n": []},
        "é": "x",
    }
    body = body_of(json.dumps(event(1) | strange), json.dumps(event(2)))
    reader = EventReader()
    first = read(body, reader)
    fast = reader.read(body)

    assert fast is not None
    assert fast[0] == first == exactly(body)
    assert isinstance(first[0], Event)
    extra = first[0].extra or ""
    assert json.loads(extra) == strange
    assert list(json.loads(extra)) == sorted(strange)


def test_names_are_learned_up_to_a_bound_and_from_good_pages_alone() -> None:
    reader = EventReader()
    row = json.dumps(event(1) | {"new": 1})
    with pytest.raises(Exception, match="page 1 instead of 2"):
        answers.event_page(2, reader)(RawAnswer("x", 200, {}, body_of(row), 0.0, 0.0))
    assert reader.read(body_of(row)) is None
    read(body_of(row), reader)
    many = json.dumps(event(1) | {f"n{number}": number for number in range(MOST_NAMES)})
    assert read(body_of(many), reader) == exactly(body_of(many))
    assert reader.read(body_of(row)) is not None
    assert reader.read(body_of(many)) is None


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None))
)  # fmt: skip
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)
rows = st.fixed_dictionaries(
    {name: st.text() for name in ("event_id", "run_id", "type", "timestamp")},
    optional={
        "summary": st.text() | scalars,
        "step_id": scalars,
        "agent_id": scalars,
        "idempotency_key": scalars,
        "payload": json_values,
        "new": json_values,
        "other": json_values,
    },
)


styles = st.fixed_dictionaries(
    {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 1, "\t"])}
)


@given(st.lists(rows | json_values, max_size=4), styles)
def test_both_ways_give_the_same(found: list[Any], style: dict[str, Any]) -> None:
    texts = [json.dumps(one, **style) for one in found]
    body = body_of(*(text.encode("utf-8", "surrogatepass") for text in texts))
    reader = EventReader()
    reader.learn(["new", "other"])
    exact, fast = exactly(body), reader.read(body)

    assert len(exact) == len(found)
    assert fast is None or fast[0] == exact
    assert reader.exact(slices.elements(slices.members(body)["data"]))[0] == exact
    for one in exact:
        text = one.text() if isinstance(one, Event) else jsontext.dumps(one.raw)
        if isinstance(one, Event):
            text.encode()
            assert event_of(text.encode()) == one


@pytest.mark.parametrize("name", ['q"', "back\\slash", "\n", "\ud800", "x" * 129, ""])
def test_a_name_that_cannot_be_learned_is_read_exactly(name: str) -> None:
    body, reader = body_of(json.dumps(event(1) | {name: 1})), EventReader()
    found = read(body, reader)

    assert isinstance(found[0], Event)
    assert json.loads(found[0].extra or "") == {name: 1}
    assert reader.read(body) is None
    assert read(body, reader) == found


@given(st.binary(max_size=60))
def test_no_bytes_end_it_otherwise_than_known(found: bytes) -> None:
    for body in (found, body_of(found)):
        with suppress(ApiError):
            assert all(isinstance(one, Event | Malformed) for one in read(body))


ARRAYS = "[" + "[]," * 700_000 + "[]]"
MIXED = "[" + '{"a":["[",1]},' * 150_000 + "[]]"


@pytest.mark.parametrize("payload", [ARRAYS, MIXED], ids=["arrays", "mixed"])
@pytest.mark.parametrize("beside", ["{}", "7", '{"x":"\\ud800"}'], ids=["no event", "7", "lone"])
def test_the_memory_of_a_page_is_bounded_by_its_bytes(payload: str, beside: str) -> None:
    rows = [with_payload(payload)] if beside == "{}" else [with_payload(payload), beside]
    body = body_of(*rows)
    tracemalloc.start()
    try:
        (found, *_) = read(body)
        text = found.text() if isinstance(found, Event) else ""
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert isinstance(found, Event)
    assert found.payload == payload
    assert payload in text
    assert peak < 12 * len(body)


@pytest.mark.parametrize("size", [10, 2**21])
async def test_a_long_page_is_read_beside_the_event_loop(size: int) -> None:
    handler, _ = answering(page([event(1, payload={"x": "x" * size})]))
    seen: list[int] = []

    def accept(reply: RawAnswer) -> int:
        seen.append(threading.get_ident())
        return len(reply.body)

    async with client_on(handler) as client:
        assert await client._read("list_events", "/events", accept) > size

    assert (seen == [threading.get_ident()]) is (size == 10)


async def test_a_logged_event_is_read_like_one_in_a_list() -> None:
    body = httpx.Response(200, text=f'{{"data":{with_payload("[1, 2]")}}}')
    handler, _ = answering(body)
    async with client_on(handler) as client:
        found = await client.get_event(event(1)["run_id"], event(1)["run_id"], "e_1")

    assert found.payload == "[1, 2]"
