"""A schema registry in memory, for demonstrations and tests: Confluent's REST interface for Avro.

Ids are counted up and shared by equal schemas of all subjects. A deleted version is shown to those
who ask for deleted ones alone; its id goes on to be served.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import Schema, parse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bridge.dev.api.http import serving

MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"

_LEVELS: Final = frozenset(
    {"NONE"}
    | {f"{way}{reach}" for way in ("BACKWARD", "FORWARD", "FULL") for reach in ("", "_TRANSITIVE")}
)


class _Refused(Exception):
    """An answer other than 200; Confluent's codes begin with the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class RegistryServer:
    """The registry: `app` is its ASGI application, `serve` puts it on a port.

    What it holds stays between two calls of `serve`, so a test can take it away and bring it back.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._ids: dict[str, int] = {}
        self._subjects: dict[str, list[int]] = {}
        self._deleted: set[tuple[str, int]] = set()
        self._levels: dict[str, str] = {}
        self._level = "BACKWARD"
        self.app = Starlette(routes=self._routes(), exception_handlers={_Refused: _refused})

    async def serve(
        self,
        host: str,
        port: int,
        stop: asyncio.Event,
        ready: Callable[[str], None] = lambda _url: None,
    ) -> None:
        """Serve until `stop` is set; `ready` gets the URL (port 0 picks a free one)."""
        async with serving(self.app, host, port) as url:
            ready(url)
            await stop.wait()

    def _routes(self) -> list[Route]:
        subject, version = "/subjects/{subject}", "/versions/{version}"
        return [
            _route("GET", "/schemas/types", self._types),
            _route("GET", "/schemas/ids/{id:int}", self._by_id),
            _route("GET", "/schemas/ids/{id:int}/versions", self._uses),
            _route("GET", "/subjects", self._list),
            _route("POST", subject, self._lookup),
            _route("GET", f"{subject}/versions", self._versions),
            _route("POST", f"{subject}/versions", self._register),
            _route("GET", f"{subject}{version}", self._version),
            _route("DELETE", f"{subject}{version}", self._delete),
            _route("POST", f"/compatibility{subject}/versions", self._check),
            _route("POST", f"/compatibility{subject}{version}", self._check),
            _route("GET", "/config", self._get_level),
            _route("PUT", "/config", self._set_level),
            _route("GET", "/config/{subject}", self._get_level),
            _route("PUT", "/config/{subject}", self._set_level),
        ]

    async def _types(self, _request: Request) -> Any:
        return ["AVRO"]

    async def _list(self, _request: Request) -> Any:
        return sorted(self._subjects)

    async def _by_id(self, request: Request) -> Any:
        return {"schema": self._text(request.path_params["id"])}

    async def _uses(self, request: Request) -> Any:
        schema_id = request.path_params["id"]
        self._text(schema_id)
        return [
            {"subject": subject, "version": ids.index(schema_id) + 1}
            for subject, ids in self._subjects.items()
            if schema_id in ids
        ]

    async def _versions(self, request: Request) -> Any:
        subject, shown = request.path_params["subject"], _shows_deleted(request)
        return [
            number
            for number in range(1, len(self._known(request)) + 1)
            if shown or (subject, number) not in self._deleted
        ]

    async def _version(self, request: Request) -> Any:
        number = _number(request.path_params["version"], len(self._known(request)))
        subject = request.path_params["subject"]
        if (subject, number) in self._deleted and not _shows_deleted(request):
            raise _Refused(40402, f"Version {number} not found.")
        return self._shown(subject, number)

    async def _delete(self, request: Request) -> Any:
        number = _number(request.path_params["version"], len(self._known(request)))
        self._deleted.add((request.path_params["subject"], number))
        return number

    async def _lookup(self, request: Request) -> Any:
        ids = self._known(request)
        schema_id = self._ids.get(_identity(await _schema(request)))
        subject = request.path_params["subject"]
        if schema_id not in ids or (subject, ids.index(schema_id) + 1) in self._deleted:
            raise _Refused(40403, "Schema not found")
        return self._shown(subject, ids.index(schema_id) + 1)

    async def _register(self, request: Request) -> Any:
        subject = request.path_params["subject"]
        text = await _schema(request)
        ids = self._subjects.get(subject, [])
        schema_id = self._ids.get(_identity(text))
        if schema_id in ids:
            self._deleted.discard((subject, ids.index(schema_id) + 1))
            return {"id": schema_id}
        level = self._levels.get(subject, self._level)
        if problems := _incompatibilities(level, text, [self._text(each) for each in ids]):
            raise _Refused(
                409,
                f"Schema being registered is incompatible with an earlier schema for subject "
                f'"{subject}", level {level}: {"; ".join(problems)}',
            )
        if schema_id is None:
            self._texts.append(text)
            schema_id = self._ids[_identity(text)] = len(self._texts)
        self._subjects.setdefault(subject, []).append(schema_id)
        return {"id": schema_id}

    async def _check(self, request: Request) -> Any:
        """Compare with one version, or with as many as the level demands."""
        subject = request.path_params["subject"]
        text = await _schema(request)
        ids = self._subjects.get(subject, [])
        version = request.path_params.get("version")
        if version is not None and (ids or version != "latest"):
            number = _number(version, len(self._known(request)))
            ids = ids[number - 1 : number]
        level = self._levels.get(subject, self._level)
        problems = _incompatibilities(level, text, [self._text(each) for each in ids])
        return {"is_compatible": not problems, "messages": problems}

    async def _get_level(self, request: Request) -> Any:
        subject = request.path_params.get("subject")
        if subject is None:
            return {"compatibilityLevel": self._level}
        if subject in self._levels:
            return {"compatibilityLevel": self._levels[subject]}
        if request.query_params.get("defaultToGlobal") == "true":
            return {"compatibilityLevel": self._level}
        raise _Refused(
            40408, f"Subject '{subject}' does not have subject-level compatibility configured"
        )

    async def _set_level(self, request: Request) -> Any:
        level = (await _body(request)).get("compatibility")
        if level not in _LEVELS:
            raise _Refused(42203, f"Invalid compatibility level, valid are {sorted(_LEVELS)}")
        subject = request.path_params.get("subject")
        if subject is None:
            self._level = level
        else:
            self._levels[subject] = level
        return {"compatibility": level}

    def _known(self, request: Request) -> list[int]:
        subject = request.path_params["subject"]
        if subject not in self._subjects:
            raise _Refused(40401, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _text(self, schema_id: int) -> str:
        if not 0 < schema_id <= len(self._texts):
            raise _Refused(40403, f"Schema {schema_id} not found")
        return self._texts[schema_id - 1]

    def _shown(self, subject: str, number: int) -> dict[str, Any]:
        schema_id = self._subjects[subject][number - 1]
        text = self._text(schema_id)
        return {"subject": subject, "version": number, "id": schema_id, "schema": text}


def _route(method: str, path: str, answer: Callable[[Request], Awaitable[Any]]) -> Route:
    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(await answer(request), media_type=MEDIA_TYPE)

    return Route(path, endpoint, methods=[method])


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    code = error.code if isinstance(error, _Refused) else 50001
    body = {"error_code": code, "message": str(error)}
    return JSONResponse(body, status_code=int(str(code)[:3]), media_type=MEDIA_TYPE)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _Refused(400, "The request's body is no JSON object")
    return body


async def _schema(request: Request) -> str:
    """Return the request's schema, valid and in the form that is kept."""
    body = await _body(request)
    text = body.get("schema")
    if body.get("schemaType", "AVRO") != "AVRO" or not isinstance(text, str):
        raise _Refused(42201, "Invalid schema: Avro alone is served here")
    try:
        parse(text)
        return json.dumps(json.loads(text), separators=(",", ":"))
    except Exception as error:
        raise _Refused(42201, f"Invalid schema: {type(error).__name__} {error}") from error


def _identity(text: str) -> str:
    """Equal for schemas that differ in white space and in the order of properties alone."""
    return json.dumps(json.loads(text), sort_keys=True)


def _shows_deleted(request: Request) -> bool:
    return request.query_params.get("deleted") == "true"


def _number(version: str, newest: int) -> int:
    if version in {"latest", "-1"}:
        return newest
    if not version.isdecimal() or int(version) < 1:
        raise _Refused(42202, f"The specified version '{version}' is not a valid version id.")
    if int(version) > newest:
        raise _Refused(40402, f"Version {version} not found.")
    return int(version)


def _incompatibilities(level: str, text: str, earlier: list[str]) -> list[str]:
    """Say where a schema breaks a compatibility level against the earlier ones, oldest first."""
    new = parse(text)
    compared = [
        parse(each) for each in (earlier if level.endswith("_TRANSITIVE") else earlier[-1:])
    ]
    way = level.removesuffix("_TRANSITIVE")
    problems = []
    for old in compared:
        if way in {"BACKWARD", "FULL"}:
            problems += _unreadable(reader=new, writer=old)
        if way in {"FORWARD", "FULL"}:
            problems += _unreadable(reader=old, writer=new)
    return problems


def _unreadable(*, reader: Schema, writer: Schema) -> list[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(reader, writer)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    where = "; ".join(sorted(result.locations))
    return [f"{where}: {'; '.join(sorted(result.messages)) or 'cannot be read'}"]
