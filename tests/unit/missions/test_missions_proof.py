"""What an answer proves: each status, in the API's own form of error and in any other."""

from __future__ import annotations

import json

import pytest

from bridge.missions.proof import Meaning, Verdict, is_own_form, meaning

REFUSED = Meaning(Verdict.REFUSED, executed=False)
KEY = Meaning(Verdict.KEY, executed=False)
UNKNOWN = Meaning(Verdict.NO_ANSWER, executed=None)
NOT_PASSED_ON = Meaning(Verdict.NO_ANSWER, executed=False)
BUSY = Meaning(Verdict.BUSY, executed=False)

ORDINARY = [
    *(400, 402, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418),
    *(422, 423, 424, 426, 428, 431, 451, 499),
]
"""4xx that the API may say of a request, and that others on the way may say of anything."""


@pytest.mark.parametrize("status", ORDINARY)
def test_the_api_itself_refuses_and_nobody_else_does(status: int) -> None:
    assert meaning(status, own=True) == REFUSED
    assert meaning(status, own=False) == UNKNOWN


@pytest.mark.parametrize("status", [100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 399])
@pytest.mark.parametrize("own", [True, False])
def test_a_redirect_proves_nothing(status: int, own: bool) -> None:  # noqa: FBT001
    assert meaning(status, own=own) == UNKNOWN


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 511, 529, 599, 600])
@pytest.mark.parametrize("own", [True, False])
def test_a_failure_proves_nothing_whoever_says_so(status: int, own: bool) -> None:  # noqa: FBT001
    assert meaning(status, own=own) == UNKNOWN


@pytest.mark.parametrize("status", [407, 421, 425])
@pytest.mark.parametrize("own", [True, False])
def test_what_was_not_passed_on_is_tried_again(status: int, own: bool) -> None:  # noqa: FBT001
    assert meaning(status, own=own) == NOT_PASSED_ON


def test_a_key_may_be_refused_by_anybody() -> None:
    assert meaning(401, own=True) == meaning(401, own=False) == meaning(403, own=True) == KEY
    assert meaning(403, own=False) == Meaning(Verdict.KEY, executed=None)


def test_too_many_requests_were_not_carried_out_whoever_counts_them() -> None:
    assert meaning(429, own=True) == meaning(429, own=False) == BUSY


@pytest.mark.parametrize(
    "document",
    [
        {"errors": [{"code": "10005", "title": "Resource not found"}]},
        {"errors": [{"code": "10005", "title": "x", "detail": "y", "meta": {}}], "meta": {}},
        {"errors": [{"detail": "no such run"}]},
        {"detail": "Not Found"},
        {"detail": [{"loc": ["body", "name"], "msg": "Field required", "type": "missing"}]},
    ],
)
def test_the_two_forms_of_the_api(document: object) -> None:
    assert is_own_form(json.dumps(document))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>404</html>",
        "Not Found",
        "null",
        "[]",
        "{}",
        '"detail"',
        '{"message": "no Route matched with those values"}',
        '{"error": "not found"}',
        '{"errors": []}',
        '{"errors": "no"}',
        '{"errors": [null]}',
        '{"errors": [{"title": "a"}, {}]}',
        '{"errors": [{"title": 7}]}',
        '{"success": false, "errors": [{"code": 7003, "message": "Could not route"}]}',
        '{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no resource"}',
        '{"detail": []}',
        '{"detail": null}',
        '{"detail": [{"message": "x"}]}',
        '{"errors": [{"title": "cut',
        "[" * 100_000,
    ],
)
def test_anything_else_is_not_the_apis_own(body: str) -> None:
    assert not is_own_form(body)
