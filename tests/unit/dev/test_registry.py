"""The embedded registry: codes and rules where a real one differs from an obvious guess."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge.dev.servers.registry import MEDIA_TYPE, RegistryServer


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=RegistryServer().app)
    async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
        yield client


def schema(*fields: Any, **more: Any) -> dict[str, str]:
    """A request's body: a record of fields given as name, type and perhaps default."""
    listed = [dict(zip(("name", "type", "default"), field, strict=False)) for field in fields]
    record = {"type": "record", "name": "R", "fields": listed} | more
    return {"schema": json.dumps(record)}


A = ("a", "string")
B = ("b", "string")
B_DEFAULT = ("b", "string", "")


async def test_one_schema_has_one_id_wherever_it_is_registered(client: httpx.AsyncClient) -> None:
    for subject, path in itertools.product("xy", ("versions", "versions?normalize=true")):
        answer = await client.post(f"/subjects/{subject}/{path}", json=schema(A))
        assert answer.json() == {"id": 1}
        assert answer.headers["content-type"] == MEDIA_TYPE
    spaced = {"schema": json.dumps(json.loads(schema(A)["schema"]), indent=3)}
    assert (await client.post("/subjects/x/versions", json=spaced)).json() == {"id": 1}
    uses = await client.get("/schemas/ids/1/versions")
    assert uses.json() == [{"subject": "x", "version": 1}, {"subject": "y", "version": 1}]
    assert (await client.get("/subjects")).json() == ["x", "y"]


async def test_versions_by_number_and_latest(client: httpx.AsyncClient) -> None:
    await client.post("/subjects/other/versions", json=schema(B))
    await client.post("/subjects/x/versions", json=schema(A))
    await client.post("/subjects/x/versions", json=schema(A, B_DEFAULT))
    assert (await client.get("/subjects/x/versions")).json() == [1, 2]
    first = (await client.get("/subjects/x/versions/1")).json()
    assert (first["id"], first["version"], first["subject"]) == (2, 1, "x")
    assert json.loads(first["schema"]) == json.loads(schema(A)["schema"])
    latest = (await client.get("/subjects/x/versions/latest")).json()
    assert (latest["id"], latest["version"]) == (3, 2)
    found = (await client.post("/subjects/x", json=schema(A))).json()
    assert found == first


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("GET", "/subjects/none/versions", None, 40401),
        ("GET", "/subjects/none/versions/1", None, 40401),
        ("POST", "/subjects/none", schema(A), 40401),
        ("GET", "/subjects/x/versions/2", None, 40402),
        ("GET", "/subjects/x/versions/0", None, 42202),
        ("GET", "/subjects/x/versions/new", None, 42202),
        ("POST", "/subjects/x", schema(B), 40403),
        ("GET", "/schemas/ids/9", None, 40403),
        ("GET", "/schemas/ids/0", None, 40403),
        ("GET", "/schemas/ids/9/versions", None, 40403),
        ("GET", "/config/x", None, 40408),
        ("PUT", "/config/x", {"compatibility": "SILLY"}, 42203),
        ("POST", "/subjects/x/versions", {"schema": "{}"}, 42201),
        ("POST", "/subjects/x/versions", {"schema": '{"type":"nonsense"}'}, 42201),
        ("POST", "/subjects/x/versions", schema(A) | {"schemaType": "JSON"}, 42201),
        ("POST", "/subjects/x/versions", {}, 42201),
        ("POST", "/subjects/x/versions", [], 400),
        ("POST", "/subjects/x/versions", schema(("a", "int")), 409),
        ("POST", "/compatibility/subjects/x/versions/7", schema(A), 40402),
    ],
)
async def test_refusals_carry_confluents_codes(
    client: httpx.AsyncClient, method: str, path: str, body: Any, code: int
) -> None:
    await client.post("/subjects/x/versions", json=schema(A))
    answer = await client.request(method, path, json=body)
    assert answer.json()["error_code"] == code
    assert answer.status_code == int(str(code)[:3])
    assert (await client.get("/subjects/x/versions")).json() == [1]


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        # Each step: the fields of the next version and whether the level lets it follow.
        ("NONE", [([A], True), ([B], True)]),
        ("BACKWARD", [([A], True), ([A, B], False), ([A, B_DEFAULT], True), ([A], True)]),
        ("BACKWARD", [([A], True), ([A, B_DEFAULT], True), ([A, B], True)]),
        ("BACKWARD_TRANSITIVE", [([A], True), ([A, B_DEFAULT], True), ([A, B], False)]),
        ("FORWARD", [([A, B], True), ([A], False), ([A, B, ("c", "int")], True)]),
        ("FORWARD", [([A, B], True), ([A, B_DEFAULT], True), ([A], True)]),
        ("FORWARD_TRANSITIVE", [([A, B], True), ([A, B_DEFAULT], True), ([A], False)]),
        ("FULL", [([A], True), ([A, B], False), ([A, B_DEFAULT], True), ([B_DEFAULT], False)]),
        ("FULL_TRANSITIVE", [([A], True), ([A, B_DEFAULT], True), ([A, B], False)]),
        ("BACKWARD", [([("a", "int")], True), ([("a", "long")], True), ([("a", "int")], False)]),
        ("FULL", [([("a", "int")], True), ([("a", "long")], False)]),
        ("BACKWARD", [([("a", ["null", "int"])], True), ([("a", ["int"])], False)]),
    ],
)
async def test_levels_decide_what_may_follow(
    client: httpx.AsyncClient, level: str, steps: list[tuple[list[Any], bool]]
) -> None:
    put = await client.put("/config/x", json={"compatibility": level})
    assert put.json() == {"compatibility": level}
    assert (await client.get("/config/x")).json() == {"compatibilityLevel": level}
    for number, (fields, fits) in enumerate(steps):
        body = schema(*fields, doc=f"version {number}")
        check = await client.post("/compatibility/subjects/x/versions", json=body)
        assert check.json()["is_compatible"] == fits
        answer = await client.post("/subjects/x/versions", json=body)
        assert answer.status_code == (200 if fits else 409)


async def test_the_check_against_latest_looks_at_the_latest_alone(
    client: httpx.AsyncClient,
) -> None:
    path = "/compatibility/subjects/x/versions/latest"
    assert (await client.post(path, json=schema(B))).json()["is_compatible"]
    await client.put("/config/x", json={"compatibility": "BACKWARD_TRANSITIVE"})
    await client.post("/subjects/x/versions", json=schema(A))
    await client.post("/subjects/x/versions", json=schema(A, B_DEFAULT))
    assert (await client.post(path, json=schema(A, B))).json()["is_compatible"]
    assert not (await client.post(path, json=schema(("c", "int")))).json()["is_compatible"]


async def test_the_global_level_holds_where_a_subject_has_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/config")).json() == {"compatibilityLevel": "BACKWARD"}
    await client.put("/config", json={"compatibility": "NONE"})
    shown = await client.get("/config/x?defaultToGlobal=true")
    assert shown.json() == {"compatibilityLevel": "NONE"}
    for fields in ([A], [B]):
        assert (await client.post("/subjects/x/versions", json=schema(*fields))).is_success


async def test_it_can_go_away_and_come_back_with_what_it_held() -> None:
    server = RegistryServer()
    url: asyncio.Future[str]
    for fields in ([A], [A, B_DEFAULT]):
        stop, url = asyncio.Event(), asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(server.serve("127.0.0.1", 0, stop, url.set_result))
        async with httpx.AsyncClient(base_url=await url, trust_env=False) as client:
            assert (await client.post("/subjects/x/versions", json=schema(*fields))).is_success
            versions = (await client.get("/subjects/x/versions")).json()
        stop.set()
        await serving
    assert versions == [1, 2]
