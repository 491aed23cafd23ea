from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.missions import jsontext
from bridge.missions.jsontext import MAX_DEPTH, Number

NUMBERS = ["0", "-0", "1.10", "1e400", "1E5", "0.1", "-12.5", "123456789012345678901234567890"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize("number", [*NUMBERS, "9" * 5_000, "0.1000000000000000055511151231257827"])
def test_a_number_comes_out_as_it_came_in(number: str) -> None:
    text = f'{{"b":[{number}],"a":{number}}}'

    assert jsontext.dumps(jsontext.loads(text)) == text


def test_a_usual_number_is_a_python_number() -> None:
    assert jsontext.loads("[1, 0.5, -3]") == [1, 0.5, -3]
    assert jsontext.loads("[1.50]") == [Number("1.50")]


@given(json_values)
def test_any_value_survives(value: Any) -> None:
    text = jsontext.dumps(value)

    assert jsontext.dumps(jsontext.loads(text.encode())) == text
    assert json.loads(text) == value


def test_order_of_names_is_kept_and_nothing_is_added() -> None:
    assert jsontext.dumps(jsontext.loads('{"z": 1, "a": [1.0, 2.50]}')) == '{"z":1,"a":[1.0,2.50]}'


@pytest.mark.parametrize("bad", ["", "{", "NaN", "[Infinity]", "[-Infinity]", "[1,]", b"[\xff]"])
def test_what_is_no_json_is_refused(bad: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsontext.loads(bad)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 2_000, 200_000])
def test_deep_nesting_is_refused_whatever_the_depth(depth: int) -> None:
    with pytest.raises(ValueError, match="nested deeper"):
        jsontext.loads("[" * depth + "]" * depth)


def test_the_deepest_nesting_allowed_can_be_written_again() -> None:
    text = "[" * MAX_DEPTH + "1.10" + "]" * MAX_DEPTH

    assert jsontext.dumps(jsontext.loads(text)) == text


def test_a_lone_surrogate_is_written_as_an_escape() -> None:
    text = jsontext.dumps(jsontext.loads(r'{"x":"\ud800","y":"\ud83d\ude00"}'))

    assert text == '{"x":"\\ud800","y":"\U0001f600"}'
    assert jsontext.loads(text.encode()) == {"x": "\ud800", "y": "\U0001f600"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_float_that_is_no_number_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        jsontext.dumps([value])


def test_a_type_unknown_to_json_is_not_written() -> None:
    with pytest.raises(TypeError, match="bytes"):
        jsontext.dumps({"x": b"y"})
