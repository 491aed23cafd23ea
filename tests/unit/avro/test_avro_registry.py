"""The registry client against answers that real registries give, and against bad ones."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from avro_fakes import HurriedClock
from pydantic import SecretStr

from bridge.avro.registry import Registry
from bridge.errors import ConfigError, RegistryAway, RegistryRefused

TEXT = '{"type":"record","name":"R","fields":[]}'


def answering(
    status: int, body: Any, requests: list[httpx.Request] | None = None, **how: Any
) -> Registry:
    """A client whose registry always gives one answer; a str is the body itself."""

    def handle(request: httpx.Request) -> httpx.Response:
        if requests is not None:
            requests.append(request)
        content = body if isinstance(body, str) else json.dumps(body)
        return httpx.Response(status, stream=httpx.ByteStream(content.encode()))

    url = how.pop("url", "http://registry:8081/")
    return Registry(url, clock=HurriedClock(), transport=httpx.MockTransport(handle), **how)


def refusal(code: int) -> dict[str, Any]:
    return {"error_code": code, "message": "no"}


Call = Callable[[Registry], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "register": lambda r: r.register("s", TEXT),
    "lookup": lambda r: r.lookup("s", TEXT),
    "latest": lambda r: r.latest("s"),
    "versions": lambda r: r.versions("s"),
    "by_id": lambda r: r.by_id(1),
    "compatible": lambda r: r.compatible("s", TEXT),
    "level": lambda r: r.level("s"),
    "set_level": lambda r: r.set_level("s", "FULL_TRANSITIVE"),
}


@pytest.mark.parametrize(
    ("call", "status", "body", "expected"),
    [
        ("register", 200, {"id": 7}, 7),
        ("lookup", 200, {"id": 7, "version": 1, "subject": "s", "schema": TEXT}, 7),
        ("lookup", 404, refusal(40401), None),
        ("lookup", 404, refusal(40403), None),
        ("latest", 200, {"id": 7, "version": 1, "schema": TEXT}, (7, TEXT)),
        ("latest", 404, refusal(40401), None),
        ("latest", 404, refusal(40402), None),
        ("versions", 200, [2, 1], [1, 2]),
        ("versions", 404, refusal(40401), []),
        ("by_id", 200, {"schema": TEXT}, TEXT),
        ("by_id", 404, refusal(40403), None),
        ("compatible", 200, {"is_compatible": True}, True),
        ("compatible", 200, {"is_compatible": False, "messages": ["x"]}, False),
        ("compatible", 404, refusal(40401), True),
        ("compatible", 404, refusal(40402), True),
        ("compatible", 422, refusal(42201), False),
        ("level", 200, {"compatibilityLevel": "FULL"}, "FULL"),
        ("level", 200, {"compatibility": "FULL"}, "FULL"),
        ("level", 404, refusal(40401), None),
        ("level", 404, refusal(40408), None),
        ("set_level", 200, {"compatibility": "FULL_TRANSITIVE"}, None),
        ("set_level", 200, {"compatibilityLevel": "FULL_TRANSITIVE"}, None),
    ],
)
async def test_what_registries_answer(call: str, status: int, body: Any, expected: Any) -> None:
    assert await CALLS[call](answering(status, body)) == expected


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>"),
        (200, ""),
        (200, "[" * 100_000),
        (200, "7"),
        (200, {"id": "7", "schema": 7, "is_compatible": "yes"}),
        (200, " " * 5_000_000),
        (204, ""),
        (301, "{}"),
        (401, refusal(40101)),
        (403, refusal(40301)),
        (404, refusal(404)),
        (404, "not here"),
        (404, {"detail": "wrong path"}),
        (429, refusal(42901)),
        (500, refusal(50001)),
        (503, "away"),
    ],
)
async def test_no_usable_answer_is_never_taken_for_one(call: str, status: int, body: Any) -> None:
    with pytest.raises(RegistryAway):
        await CALLS[call](answering(status, body))


@pytest.mark.parametrize("status", [409, 422])
async def test_a_refused_schema_is_a_mistake_of_configuration(status: int) -> None:
    with pytest.raises(ConfigError, match="refuses the schema of s: no"):
        await answering(status, refusal(status)).register("s", TEXT)


@pytest.mark.parametrize(
    ("call", "status", "body", "named"),
    [
        ("register", 403, refusal(40301), r"permission to write subjects.*__REGISTER=false"),
        ("lookup", 403, "Forbidden", "permission to read subjects"),
        ("by_id", 403, refusal(40301), "permission to read subjects"),
        ("level", 403, refusal(40301), "permission to read the compatibility level"),
        ("set_level", 403, refusal(40301), "permission to write the compatibility level"),
        ("lookup", 401, refusal(40101), "BRIDGE_REGISTRY__BASIC_AUTH"),
        ("set_level", 422, refusal(42205), "read-only: set its mode to READWRITE"),
    ],
)
async def test_a_refusal_names_what_it_would_take(
    call: str, status: int, body: Any, named: str
) -> None:
    requests: list[httpx.Request] = []
    with pytest.raises(RegistryRefused, match=named):
        await CALLS[call](answering(status, body, requests))
    assert len(requests) == 1, "a refusal is not asked for again"


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (409, 409, "schemas check"),
        (422, 42205, "set its mode to READWRITE"),
    ],
)
async def test_a_refused_schema_comes_with_what_to_do(status: int, code: int, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        await answering(status, refusal(code)).register("s", TEXT)


@pytest.mark.parametrize("trouble", [429, 500, 502, 503, 504, httpx.ReadError, "closed"])
async def test_each_request_that_meets_trouble_is_made_again_for_itself(trouble: Any) -> None:
    """With trouble at three requests of four a long sequence still ends at its first try."""
    asked = 0

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if asked % 4 == 0:
            return httpx.Response(200, stream=httpx.ByteStream(b"[1]"))
        if isinstance(trouble, int):
            return httpx.Response(trouble, stream=httpx.ByteStream(b"away"))
        raise httpx.ReadError("reset") if trouble != "closed" else httpx.RemoteProtocolError("x")

    registry = Registry(
        "http://registry", clock=HurriedClock(), transport=httpx.MockTransport(handle)
    )
    for _ in range(30):
        assert await registry.versions("s") == [1]
    assert asked == 120


async def test_a_registry_that_cannot_be_reached_is_told_at_once() -> None:
    clock = HurriedClock()
    registry = Registry("http://127.0.0.1:1", clock=clock)
    with pytest.raises(RegistryAway):
        await registry.latest("s")
    assert clock.waits == []
    await registry.aclose()


async def test_ids_that_no_registry_gives_are_not_asked_for() -> None:
    requests: list[httpx.Request] = []
    registry = answering(404, refusal(404), requests)
    assert [await registry.by_id(schema_id) for schema_id in (0, 2**31, 2**32 - 1)] == [None] * 3
    assert requests == []


async def test_names_and_prefix_of_the_path_are_kept() -> None:
    requests: list[httpx.Request] = []
    registry = answering(200, {"id": 1}, requests, url="http://registry/apis/ccompat/v7")
    await registry.lookup("a/b ?ü.events-value", TEXT)
    (request,) = requests
    assert request.url.raw_path == b"/apis/ccompat/v7/subjects/a%2Fb%20%3F%C3%BC.events-value"
    assert json.loads(request.content) == {"schema": TEXT}


@pytest.mark.parametrize(
    ("how", "header"),
    [
        ({"basic_auth": SecretStr("me:ca:nary")}, "Basic bWU6Y2E6bmFyeQ=="),
        ({"bearer_token": SecretStr("canary")}, "Bearer canary"),
        ({"url": "http://me:canary@registry:8081"}, "Basic bWU6Y2FuYXJ5"),
        ({}, None),
    ],
)
async def test_it_logs_in_and_tells_nobody(how: dict[str, Any], header: str | None) -> None:
    requests: list[httpx.Request] = []
    registry = answering(401, refusal(40101), requests, **how)
    with pytest.raises(RegistryAway, match=r"http://registry:8081 refuses") as caught:
        await registry.latest("s")
    assert requests[0].headers.get("authorization") == header
    assert "nary" not in str(caught.value)
    assert "nary" not in registry.url


async def test_a_registry_that_never_ends_its_answer_is_given_up() -> None:
    async def trickle() -> Any:
        while True:
            yield b" "
            await asyncio.Event().wait()

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=trickle()))
    registry = Registry("http://registry", timeout=0.05, transport=transport)
    with pytest.raises(RegistryAway, match="TimeoutError"):
        await registry.latest("s")


@pytest.mark.parametrize("label", ["gzip", "x-gzip", ""])
@pytest.mark.parametrize(("spaces", "fits"), [(10, True), (2**23, False)])
async def test_a_registry_that_packs_unasked_is_read_within_the_cap(
    label: str, spaces: int, *, fits: bool
) -> None:
    async def packed() -> Any:
        yield gzip.compress(b'{"id": 7, "schema": "x"}' + b" " * spaces)

    headers = {"content-encoding": label}
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=headers, content=packed())
    )
    registry = Registry("http://registry", transport=transport, clock=HurriedClock())
    if fits:
        assert await registry.latest("s") == (7, "x")
    else:
        with pytest.raises(RegistryAway, match="more than 4000000 bytes"):
            await registry.latest("s")


async def test_nobody_listens() -> None:
    registry = Registry("http://127.0.0.1:1")
    with pytest.raises(RegistryAway, match=r"http://127\.0\.0\.1:1 .*ConnectError"):
        await registry.latest("s")
    await registry.aclose()
