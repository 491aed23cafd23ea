from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.missions import slices

values = st.recursive(
    st.none() | st.integers() | st.text('ab[]{}",\\ \n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('a"[\\'), inner),
    max_leaves=30,
)


@pytest.mark.parametrize(
    "bad",
    [
        '{"x": NaN}',
        "[" * 5_000 + "]" * 5_000,
        '{"x": "a \x01 [{ \\" control character"}',
        "nonsense",
        '{"x" 1}',
        '"\udcff"',
    ],
)
def test_one_bad_element_does_not_hide_the_others(bad: str) -> None:
    text = f'{{"data": [ {{"a": 1}}, {bad} , [2.50] , "x, y"], "meta": {{"n": 1}} }} '
    raw = bad.encode(errors="surrogateescape")
    found = slices.members(text.encode(errors="surrogateescape"))

    assert found["meta"] == b'{"n": 1}'
    assert slices.elements(found["data"]) == [b'{"a": 1}', raw, b"[2.50]", b'"x, y"']


@pytest.mark.parametrize(
    "torn",
    ['{"data": [NaN', '{"data": [NaN, {"x": "\\"', '{"data": [NaN, "x', '{"data": NaN} and more',
     "[NaN]", "", '{"a":1,}', '{1:NaN}', '{"a" 1}', "{NaN}"],
)  # fmt: skip
def test_a_text_that_is_not_whole_is_no_object(torn: str) -> None:
    with pytest.raises(slices.REFUSED):
        slices.members(torn.encode())


def test_hostile_quotes_cost_no_more_than_their_length() -> None:
    with pytest.raises(ValueError, match="does not end"):
        slices.members(b'{"data":[{NaN' + b'"\\' * 300_000)


def _depth(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0)


@given(values, st.integers(0, 6))
def test_the_depth_of_a_text_is_that_of_its_value(value: Any, depth: int) -> None:
    assert slices.is_deeper(json.dumps(value).encode(), depth) is (_depth(value) > depth)


def test_the_depth_of_a_text_of_many_steps_is_that_of_its_value() -> None:
    value = [['["{', ["x"]] * 100_000, [[["\\\\"]]]]
    assert not slices.is_deeper(json.dumps(value).encode(), 4)
    assert slices.is_deeper(json.dumps(value).encode(), 3)
