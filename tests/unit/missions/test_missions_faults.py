from __future__ import annotations

import inspect
import json
import ssl
from typing import Any

import httpx
import pytest

from bridge.errors import AccessError, ApiError, ApiRejected, RateLimited
from bridge.missions import faults
from bridge.missions.faults import error_parts, fault_of, refused, translated

TELNYX = {
    "errors": [
        {
            "code": "10004",
            "title": "Missing required parameter",
            "detail": "The 'step_id' is missing.",
            "source": {"pointer": "/body/steps[0]/step_id"},
            "meta": {"url": "https://example.test/10004"},
        },
        {"code": 10015, "title": "Bad Request", "source": None},
    ]
}
FASTAPI = {
    "detail": [
        {"loc": ["body", "steps", 0, "step_id"], "msg": "Field required", "type": "missing"},
        {"loc": ["query", "page[size]"], "msg": "too large", "type": "less_than_equal"},
    ]
}


def test_every_exception_of_httpx_has_a_counterpart() -> None:
    theirs = {
        kind
        for _, kind in inspect.getmembers(httpx, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__.startswith("httpx")
    }

    assert len(theirs) > 20
    assert {kind.__name__ for kind in theirs - set(faults._FAULTS)} == set()


@pytest.mark.parametrize(
    ("error", "kind", "executed"),
    [
        (httpx.ConnectError("no such host"), "connect", False),
        (httpx.ConnectTimeout(""), "connect_timeout", False),
        (httpx.PoolTimeout(""), "pool_timeout", False),
        (httpx.ReadTimeout(""), "timeout", None),
        (httpx.ReadError(""), "reset", None),
        (httpx.RemoteProtocolError("cut"), "protocol", None),
        (TimeoutError(), "timeout", None),
        (ssl.SSLError("alert"), "reset", None),
    ],
)
def test_only_what_never_left_counts_as_not_carried_out(
    error: Exception, kind: str, executed: object
) -> None:
    assert fault_of(error).kind == kind
    assert translated("start_run (POST /x)", error).executed is executed


def test_a_kind_that_is_new_in_the_library_is_treated_as_its_ancestor() -> None:
    class Stranger(httpx.ReadTimeout):
        pass

    assert fault_of(Stranger("")).kind == "timeout"


def answer(status: int, document: Any = None, **headers: str) -> Exception:
    body = "<html>" if document is None else json.dumps(document)
    return refused("get_run (GET /x)", status, httpx.Headers(headers), body, 4.0)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529, 101])
def test_nobody_knows_what_these_statuses_did(status: int) -> None:
    error = answer(status)

    assert type(error) is ApiError
    assert (error.executed, error.status, error.body) == (None, status, "<html>")


def test_a_refusal_by_the_api_itself_is_definite() -> None:
    error = answer(400, TELNYX)

    assert isinstance(error, ApiRejected)
    assert error.status == 400
    assert error.codes == ("10004", "10015")


def test_a_refusal_by_anybody_else_is_not_and_says_so() -> None:
    error = answer(404)

    assert type(error) is ApiError
    assert (error.executed, error.status, error.body) == (None, 404, "<html>")
    assert "not in the API's own form" in str(error)


@pytest.mark.parametrize(("document", "own"), [(TELNYX, True), (None, False)])
@pytest.mark.parametrize("status", [401, 403])
def test_401_and_403_are_about_the_key_and_say_who_sent_them(
    status: int, document: Any, own: object
) -> None:
    error = answer(status, document)

    assert isinstance(error, AccessError)
    assert (error.status, error.own) == (status, own)
    assert error.executed is (None if status == 403 and not own else False)


def test_429_was_not_carried_out_and_names_the_wait() -> None:
    error = answer(429)

    assert isinstance(error, RateLimited)
    assert (error.executed, error.wait) == (False, 4.0)


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://evil.example/x?y", "evil.example"),
        ("/elsewhere", "its own host"),
        ("http://[bad", "unreadable"),
        ("", "its own host"),
    ],
)
def test_a_redirect_says_nothing_of_the_request_and_names_its_host(
    location: str, host: str
) -> None:
    error = answer(307, location=location)

    assert isinstance(error, ApiError)
    assert error.executed is None
    assert host in str(error)


def test_both_error_forms_are_read() -> None:
    assert error_parts(json.dumps(TELNYX)) == (
        ("10004", "10015"),
        (
            "10004 Missing required parameter The 'step_id' is missing. (/body/steps[0]/step_id)",
            "10015 Bad Request",
        ),
    )
    assert error_parts(json.dumps(FASTAPI)) == (
        ("missing", "less_than_equal"),
        ("Field required (/body/steps/0/step_id)", "too large (/query/page[size])"),
    )
    assert error_parts('{"detail": "Not Found"}') == ((), ("Not Found",))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[]",
        "{}",
        "null",
        '{"errors": null}',
        '{"errors": {"code": 1}}',
        '{"errors": [null, 3, {}]}',
        '{"detail": [{"loc": 7, "msg": null}]}',
        '{"detail": 7}',
        "[" * 100_000,
    ],
)
def test_an_error_body_of_any_other_form_gives_no_parts(body: str) -> None:
    assert error_parts(body) == ((), ())


def test_an_exception_carries_no_more_than_a_part_of_a_long_body() -> None:
    error = refused("x", 400, {}, json.dumps({"detail": "y" * 60_000}), None)

    assert isinstance(error, ApiRejected)
    assert len(error.body or "") == 8_192
    assert len(str(error)) < 1_200
