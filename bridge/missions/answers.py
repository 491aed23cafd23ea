"""What a 2xx body must look like for each kind of operation, and the models made of it.

Every function takes a `Reply` and raises ApiError (executed unknown) for a body that does not fit:
an answer is accepted whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bridge.errors import ApiError
from bridge.missions import jsontext
from bridge.missions.faults import foreign
from bridge.missions.models import Answer, ApiObject, Event, Malformed, Mission, Page
from bridge.missions.pacing import parse_http_date
from bridge.missions.wire import Reply

M = TypeVar("M", bound=ApiObject)
T = TypeVar("T")


class _Meta(BaseModel):
    """The `meta` of a list; the totals are hints."""

    model_config = ConfigDict(strict=True)

    page_number: int
    page_size: int = Field(gt=0)
    total_pages: int
    total_results: int


def one(kind: type[M]) -> Callable[[Reply], M]:
    """Accept `{"data": {...}}`."""

    def accept(reply: Reply) -> M:
        data = _object(reply).get("data")
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            raise _foreign(reply, f"data is no {kind.__name__}: {_reasons(error)}") from error

    return accept


def many(kind: type[M]) -> Callable[[Reply], tuple[M, ...]]:
    """Accept `{"data": [{...}, ...]}`."""

    def accept(reply: Reply) -> tuple[M, ...]:
        return _models(reply, kind, _elements(reply, _object(reply)))

    return accept


def page(kind: type[M], number: int) -> Callable[[Reply], Page[M]]:
    """Accept page `number` of a list."""

    def accept(reply: Reply) -> Page[M]:
        document = _object(reply)
        elements = _elements(reply, document)
        return _page(reply, document, number, _models(reply, kind, elements))

    return accept


def event_page(number: int) -> Callable[[Reply], Page[Event | Malformed]]:
    """Accept page `number` of a list of events; elements that are no event become Malformed."""

    def accept(reply: Reply) -> Page[Event | Malformed]:
        document = _object(reply, salvaged="data")
        elements = _elements(reply, document)
        items: Sequence[Event | Malformed]
        try:
            items = _list_of(Event).validate_python(elements)
        except ValidationError:
            items = [_event(element) for element in elements]
        return _page(reply, document, number, tuple(items))

    return accept


def cloned(reply: Reply) -> Mission | None:
    """Accept any object: the API does not say what a clone's answer is; None if no mission."""
    document = _object(reply)
    try:
        return Mission.model_validate(document.get("data", document))
    except ValidationError:
        return None


def nothing(reply: Reply) -> None:
    """Accept an empty body, or any object."""
    if reply.body.strip():
        _object(reply)


def written(accept: Callable[[Reply], T]) -> Callable[[Reply], Answer[T]]:
    """Accept what `accept` does, and keep the body's text."""
    return lambda reply: Answer(accept(reply), reply.status, reply.body.decode())


def _object(reply: Reply, salvaged: str | None = None) -> dict[str, Any]:
    try:
        document = jsontext.loads(reply.body)
    except ValueError as error:
        if salvaged is None:
            raise _foreign(reply, f"the body is no JSON: {error}") from error
        document = _salvage(reply, salvaged)
    if not isinstance(document, dict):
        raise _foreign(reply, "the body is no JSON object")
    return document


def _salvage(reply: Reply, key: str) -> dict[str, Any]:
    try:
        return jsontext.salvage(reply.body, key)
    except ValueError as error:
        raise _foreign(reply, f"the body is no JSON: {error}") from error


def _elements(reply: Reply, document: dict[str, Any]) -> list[Any]:
    data = document.get("data")
    if not isinstance(data, list):
        raise _foreign(reply, "data is no list")
    return data


@cache
def _list_of(kind: type[M]) -> TypeAdapter[list[M]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


def _models(reply: Reply, kind: type[M], elements: list[Any]) -> tuple[M, ...]:
    try:
        return tuple(_list_of(kind).validate_python(elements))
    except ValidationError as error:
        raise _foreign(reply, f"data is no list of {kind.__name__}: {_reasons(error)}") from error


def _event(element: Any) -> Event | Malformed:
    if isinstance(element, jsontext.Raw):
        return Malformed(element, "no JSON, not UTF-8, or nested too deep")
    try:
        return Event.model_validate(element)
    except ValidationError as error:
        return Malformed(element, _reasons(error))


def _page(reply: Reply, document: dict[str, Any], number: int, items: tuple[T, ...]) -> Page[T]:
    try:
        meta = _Meta.model_validate(document.get("meta"))
    except ValidationError as error:
        raise _foreign(reply, f"meta is not usable: {_reasons(error)}") from error
    if meta.page_number != number:
        raise _foreign(reply, f"it is page {meta.page_number} instead of {number}")
    if len(items) > meta.page_size:
        raise _foreign(reply, f"it has {len(items)} elements on a page of {meta.page_size}")
    age = reply.headers.get("age", "")
    return Page(
        items=items,
        number=number,
        size=meta.page_size,
        total_pages=meta.total_pages,
        total_results=meta.total_results,
        date=parse_http_date(reply.headers.get("date", "")),
        age=int(age) if age.isascii() and age.isdecimal() and len(age) < 20 else None,
        sent=reply.sent,
        took=reply.took,
    )


def _reasons(error: ValidationError) -> str:
    """Say what is wrong, without the values: they may be long, and are kept elsewhere."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = (f"{'.'.join(map(str, part['loc'])) or 'it'}: {part['msg']}" for part in found[:5])
    return "; ".join(reasons) + ("; ..." if len(found) > 5 else "")


def _foreign(reply: Reply, why: str) -> ApiError:
    return foreign(reply.what, reply.status, reply.body.decode(errors="replace"), why)
