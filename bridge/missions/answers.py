"""What a 2xx body must look like for each kind of operation, and the models made of it.

Every function takes a `Reply` and raises ApiError (executed unknown) for a body that is not the
API's. What stands in the body is tolerated row by row: a field that cannot be read counts as
absent, a row without its id becomes Malformed and keeps its place, and `meta` is required only
where it would contradict what was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from bridge import telemetry
from bridge.errors import ApiError
from bridge.missions import events, jsontext, slices
from bridge.missions.events import EventReader
from bridge.missions.faults import foreign
from bridge.missions.models import Answer, ApiObject, Event, Malformed, Mission, Page
from bridge.missions.pacing import parse_http_date
from bridge.missions.wire import RawAnswer

M = TypeVar("M", bound=ApiObject)
T = TypeVar("T")

LARGEST_COUNT: Final = 10**9
"""Totals, sizes and page numbers beyond this say nothing."""

_LONGEST_META: Final = 2**16

LONGEST_AGE: Final = 2**31 - 1
"""Seconds that an Age header may speak of; RFC 9111 bounds it so."""


def one(kind: type[M]) -> Callable[[RawAnswer], M]:
    """Accept `{"data": {...}}`."""

    def accept(reply: RawAnswer) -> M:
        row = _row(kind, _object(reply).get("data"))
        if isinstance(row, Malformed):
            raise _foreign(reply, f"data is no {kind.__name__}: {row.error}")
        return row

    return accept


def many(kind: type[M]) -> Callable[[RawAnswer], tuple[M | Malformed, ...]]:
    """Accept `{"data": [{...}, ...]}`."""

    def accept(reply: RawAnswer) -> tuple[M | Malformed, ...]:
        return _rows(kind, _elements(reply, _object(reply, salvaged=True)))

    return accept


def page(kind: type[M], number: int) -> Callable[[RawAnswer], Page[M | Malformed]]:
    """Accept page `number` of a list; elements that are none of its objects become Malformed."""

    def accept(reply: RawAnswer) -> Page[M | Malformed]:
        document = _object(reply, salvaged=True)
        elements = _elements(reply, document)
        return _page(reply, document, number, _rows(kind, elements))

    return accept


def event_page(number: int, reader: EventReader) -> Callable[[RawAnswer], Page[Event | Malformed]]:
    """Accept page `number` of a list of events; elements that are no event become Malformed."""

    def accept(reply: RawAnswer) -> Page[Event | Malformed]:
        if (read := reader.read(reply.body)) is not None:
            items, meta = read
            return _page(
                reply, {"data": items, "meta": _small(reply, "meta", meta)}, number, tuple(items)
            )
        document = _outline(reply)
        found, unknown = reader.exact(_elements(reply, document))
        page = _page(reply, document, number, tuple(found))
        reader.learn(unknown)
        return page

    return accept


def one_event(reply: RawAnswer) -> Event:
    """Accept `{"data": {...}}` with an event."""
    found = events.event_of(_members(reply).get("data", b"null"))
    if isinstance(found, Malformed):
        raise _foreign(reply, f"data is no Event: {found.error}")
    return found


def cloned(reply: RawAnswer) -> Mission | None:
    """Accept any object: the API does not say what a clone's answer is; None if no mission."""
    document = _object(reply)
    try:
        return Mission.model_validate(document.get("data", document))
    except ValidationError:
        return None


def nothing(reply: RawAnswer) -> None:
    """Accept an empty body, or any object."""
    if reply.body.strip():
        _object(reply)


def written(accept: Callable[[RawAnswer], T]) -> Callable[[RawAnswer], Answer[T]]:
    """Accept what `accept` does, and keep the body's text."""
    return lambda reply: Answer(accept(reply), reply.status, reply.body.decode())


def _object(reply: RawAnswer, *, salvaged: bool = False) -> dict[str, Any]:
    try:
        document = jsontext.loads(reply.body)
    except ValueError as error:
        if not salvaged:
            raise _foreign(reply, f"the body is no JSON: {error}") from error
        document = _salvage(reply)
    if not isinstance(document, dict):
        raise _foreign(reply, "the body is no JSON object")
    return document


def _salvage(reply: RawAnswer) -> dict[str, Any]:
    """Read a list of which some element is no JSON: it becomes Raw and hides no others."""
    document = _outline(reply)
    if isinstance(document.get("data"), list):
        document["data"] = [_value(piece) for piece in document["data"]]
    return document


def _value(piece: bytes) -> Any:
    try:
        return jsontext.loads(piece)
    except ValueError:
        return jsontext.Raw(piece.decode(errors="surrogateescape"))


def _outline(reply: RawAnswer) -> dict[str, Any]:
    """Return what a list says, with the texts of its elements under `data`."""
    found = _members(reply)
    document: dict[str, Any] = {
        name: _small(reply, name, found[name]) for name in ("meta", "errors") if name in found
    }
    data = found.get("data")
    if data is not None and data[:1] == b"[":
        try:
            document["data"] = slices.elements(data)
        except slices.REFUSED as error:
            raise _foreign(reply, f"data is no JSON: {error}") from error
    elif data is not None:
        document["data"] = _small(reply, "data", data)
    return document


def _members(reply: RawAnswer) -> dict[str, bytes]:
    try:
        return slices.members(reply.body)
    except slices.REFUSED as error:
        raise _foreign(reply, f"the body is no JSON object: {error}") from error


def _small(reply: RawAnswer, name: str, text: bytes) -> Any:
    """Return the value of a part that a page has once and that is never long."""
    if len(text) > _LONGEST_META:
        raise _foreign(reply, f"{name} has {len(text)} bytes, more than {_LONGEST_META}")
    try:
        return jsontext.loads(text)
    except ValueError as error:
        raise _foreign(reply, f"{name} is no JSON: {error}") from error


def _elements(reply: RawAnswer, document: dict[str, Any]) -> list[Any]:
    """Return the rows of a list; null stands for none, unless errors stand beside it."""
    data = document.get("data")
    if data is None and "data" in document and not document.get("errors"):
        return []
    if not isinstance(data, list):
        raise _foreign(reply, "data is no list")
    return data


@cache
def _list_of(kind: type[M]) -> TypeAdapter[list[M]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]


def _rows(kind: type[M], elements: list[Any]) -> tuple[M | Malformed, ...]:
    try:
        return tuple(_list_of(kind).validate_python(elements))
    except ValidationError:
        return tuple(_row(kind, element) for element in elements)


def _row(kind: type[M], element: Any) -> M | Malformed:
    """Return an element as an object; what cannot be read counts as absent."""
    unfit: set[int | str] = set()
    why = "no JSON, not UTF-8, or nested too deep"
    if not isinstance(element, jsontext.Raw):
        try:
            return kind.model_validate(element)
        except ValidationError as error:
            unfit = {part["loc"][0] for part in error.errors() if part["loc"]}
            why = _reasons(error)
    row = _without(kind, element, unfit)
    telemetry.api_row_unfit(kind.__name__, "row" if row is None else "fields", why)
    return Malformed(element, why) if row is None else row


def _without(kind: type[M], element: Any, unfit: set[int | str]) -> M | None:
    """Return an object without its unfit fields; None if it is nothing without them."""
    if not isinstance(element, dict):
        return None
    try:
        return kind.model_validate({n: value for n, value in element.items() if n not in unfit})
    except ValidationError:
        return None


def _page(reply: RawAnswer, document: dict[str, Any], number: int, items: tuple[T, ...]) -> Page[T]:
    """Return a page; one that is empty may say of itself what it likes, but not a later number."""
    found = document.get("meta")
    meta = found if isinstance(found, dict) else {}
    if document.get("data") is None and not meta:
        raise _foreign(reply, "it has neither rows nor a meta")
    shown = _count(meta.get("page_number"))
    if shown not in (None, number) and (items or shown > number):
        raise _foreign(reply, f"it is page {shown} instead of {number}")
    size = _count(meta.get("page_size"))
    return Page(
        items=items,
        number=number,
        size=None if size is None or size < len(items) else size,
        total_pages=_count(meta.get("total_pages")),
        total_results=_count(meta.get("total_results")),
        date=parse_http_date(reply.headers.get("date", "")),
        age=_digits(reply.headers.get("age", ""), LONGEST_AGE),
        sent=reply.sent,
        took=reply.took,
    )


def _count(value: object) -> int | None:
    """Return a count, which may be written as text; None for what is none, or is absurd."""
    if isinstance(value, str):
        return _digits(value, LARGEST_COUNT)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= LARGEST_COUNT else None


def _digits(text: str, most: int) -> int | None:
    """Return a number that is written in digits; None for what is none, or is beyond `most`."""
    text = text.strip().lstrip("0") or text.strip()[-1:]
    if not (text.isascii() and text.isdecimal()) or len(text) > len(str(most)):
        return None
    return int(text) if int(text) <= most else None


def _reasons(error: ValidationError) -> str:
    """Say what is wrong, without the values: they may be long, and are kept elsewhere."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = (f"{'.'.join(map(str, part['loc'])) or 'it'}: {part['msg']}" for part in found[:5])
    return "; ".join(reasons) + ("; ..." if len(found) > 5 else "")


def _foreign(reply: RawAnswer, why: str) -> ApiError:
    return foreign(reply.what, reply.status, reply.body.decode(errors="replace"), why)
