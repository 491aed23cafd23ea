"""What the simulated API says: JSON as bytes, pages, and both forms of error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from bridge.clock import Micros
from bridge.dev.api.feed import SimulatedEvent

Row = dict[str, Any]
"""A JSON object under the API's field names."""

_compact = json.JSONEncoder(separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TITLES = {
    "10004": "Missing required parameter",
    "10005": "Resource not found",
    "10006": "Invalid ID",
    "10007": "Unexpected error",
    "10008": "Request timeout",
    "10009": "Authentication failed",
    "10010": "Authorization failed",
    "10011": "Too many requests",
    "10015": "Bad Request",
}


class Ending(Enum):
    """What becomes of an answer on its way to the client."""

    SENT = "sent"
    WITHHELD = "withheld"
    """Nothing is sent; the connection stays open until the client leaves."""
    DROPPED = "dropped"
    """Nothing is sent; the connection is closed."""


@dataclass(slots=True)
class SimulatedReply:
    """One answer and the way it is delivered; `headers` have lower-case names."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = Ending.SENT
    delay: float = 0.0
    """Seconds before the first byte."""
    pace: float | None = None
    """Bytes per second of the body; None: as fast as it goes."""
    keep: int | None = None
    """Send only so many bytes of the body that content-length declares, then close."""
    declared: int | None = None
    """Send the whole body under this content-length, then close."""

    @property
    def is_whole(self) -> bool:
        """Whether all of it is sent as it should be, so that its connection can be used again."""
        return self.ending is Ending.SENT and self.keep is None and self.declared is None


@dataclass(slots=True)
class SimulatedPage:
    """One page of a list; each item is JSON already."""

    items: list[bytes]
    meta: Row
    events: Sequence[SimulatedEvent] = ()
    """The events that it shows, if it is a page of events."""

    def encode(self) -> bytes:
        """The page as the API sends it."""
        return b'{"data":[%b],"meta":%b}' % (b",".join(self.items), encode(self.meta))


@dataclass(frozen=True, slots=True)
class ApiProblem:
    """One mistake in a request; `place` and `kind` are FastAPI's `loc` and `type` of it."""

    code: str
    detail: str
    place: tuple[str | int, ...] = ()
    kind: str = "value_error"


class Refused(Exception):
    """The API answers with an error."""

    def __init__(self, status: int, *problems: ApiProblem) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.status = status
        self.problems = problems


class Invalid(Refused):
    """The request itself is wrong: 400, or 422 where the API speaks FastAPI's form."""

    def __init__(self, *problems: ApiProblem) -> None:
        super().__init__(400, *problems)


def not_found(what: str) -> Refused:
    """404 for something that is not there."""
    return Refused(404, ApiProblem("10005", f"{what} not found"))


def encode(value: object) -> bytes:
    """JSON as compact ASCII, which any string survives, even a lone surrogate."""
    return _compact(value).encode("ascii")


def instant(at: Micros) -> str:
    """A time as the API writes it: UTC, `Z`, always six decimals."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat(timespec="microseconds")[:-6] + "Z"


def wrapped(status: int, data: object) -> SimulatedReply:
    """A success with one object or a list that is not paged."""
    return SimulatedReply(status, b'{"data":%b}' % encode(data))


def refusal(status: int, problems: Sequence[ApiProblem]) -> SimulatedReply:
    """An error in Telnyx form, one entry a problem."""
    errors = []
    for problem in problems:
        entry: Row = {
            "code": problem.code,
            "title": _TITLES.get(problem.code, "Error"),
            "detail": problem.detail,
        }
        if problem.place:
            entry["source"] = _source(problem.place)
        entry["meta"] = {
            "url": f"https://developers.telnyx.com/docs/overview/errors/{problem.code}"
        }
        errors.append(entry)
    return SimulatedReply(status, encode({"errors": errors}))


def fastapi_refusal(problems: Sequence[ApiProblem]) -> SimulatedReply:
    """A validation error in the form that the contract declares: 422 with `detail`."""
    detail = [{"loc": list(p.place), "msg": p.detail, "type": p.kind} for p in problems]
    return SimulatedReply(422, encode({"detail": detail}))


def code_for(status: int) -> str:
    """The catalogue's code that goes with a status."""
    codes: Mapping[int, str] = {
        401: "10009",
        403: "10010",
        404: "10005",
        408: "10008",
        429: "10011",
    }
    return codes.get(status, "10007" if status >= 500 else "10015")


def _source(place: tuple[str | int, ...]) -> Row:
    where, *path = place
    if where in {"query", "path"}:
        return {"parameter": str(path[0])}
    pointer = f"/{where}"
    for step in path:
        pointer += f"[{step}]" if isinstance(step, int) else f"/{step}"
    return {"pointer": pointer}
