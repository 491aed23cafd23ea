"""What went wrong with a request, in the words of `bridge.errors`.

A table for the exceptions of other libraries; that of HTTP statuses is in `proof.py`. Both answer
the question that decides what the caller does next: may the request have been carried out?
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from bridge.errors import AccessError, ApiError, ApiRejected, BridgeError, RateLimited
from bridge.http_body import UnreadableBody
from bridge.missions import jsontext
from bridge.missions.proof import Verdict, is_own_form, meaning

_LONGEST_BODY = 8_192
"""Characters of an answer's body that an exception carries."""


class Fault(NamedTuple):
    """A kind of failure for metrics, and what is known: False not carried out, None unknown."""

    kind: str
    executed: bool | None


# False only for what fails before a connection stands: after that nobody can know how far the
# request came.
_FAULTS: dict[type[Exception], Fault] = {
    httpx.ConnectError: Fault("connect", executed=False),
    httpx.ConnectTimeout: Fault("connect_timeout", executed=False),
    httpx.PoolTimeout: Fault("pool_timeout", executed=False),
    httpx.ProxyError: Fault("proxy", executed=False),
    httpx.UnsupportedProtocol: Fault("unsupported", executed=False),
    httpx.InvalidURL: Fault("unsupported", executed=False),
    httpx.ReadTimeout: Fault("timeout", executed=None),
    httpx.WriteTimeout: Fault("timeout", executed=None),
    httpx.TimeoutException: Fault("timeout", executed=None),
    TimeoutError: Fault("timeout", executed=None),
    httpx.ReadError: Fault("reset", executed=None),
    httpx.WriteError: Fault("reset", executed=None),
    httpx.CloseError: Fault("reset", executed=None),
    httpx.NetworkError: Fault("reset", executed=None),
    httpx.TransportError: Fault("reset", executed=None),
    httpx.RequestError: Fault("reset", executed=None),
    httpx.HTTPError: Fault("reset", executed=None),
    OSError: Fault("reset", executed=None),  # TLS faults after the handshake arrive as SSLError
    httpx.RemoteProtocolError: Fault("protocol", executed=None),
    httpx.LocalProtocolError: Fault("protocol", executed=None),
    httpx.ProtocolError: Fault("protocol", executed=None),
    httpx.HTTPStatusError: Fault("protocol", executed=None),
    httpx.TooManyRedirects: Fault("protocol", executed=None),
    httpx.CookieConflict: Fault("protocol", executed=None),
    httpx.DecodingError: Fault("unreadable", executed=None),
    httpx.StreamError: Fault("unreadable", executed=None),
    httpx.StreamConsumed: Fault("unreadable", executed=None),
    httpx.StreamClosed: Fault("unreadable", executed=None),
    httpx.ResponseNotRead: Fault("unreadable", executed=None),
    httpx.RequestNotRead: Fault("unreadable", executed=None),
    UnreadableBody: Fault("unreadable", executed=None),
}

FOREIGN = tuple(_FAULTS)


def fault_of(error: Exception) -> Fault:
    """Return the fault of an exception out of FOREIGN: its own, or that of its nearest ancestor."""
    return next(_FAULTS[kind] for kind in type(error).__mro__ if kind in _FAULTS)


def translated(what: str, error: Exception) -> ApiError:
    """Return the exception to raise `from` one out of FOREIGN; `what` names the request."""
    fault = fault_of(error)
    known = "not carried out" if fault.executed is False else "nobody knows if it was carried out"
    cause = f"{type(error).__name__}: {error}".removesuffix(": ")
    too_much = fault.kind in ("timeout", "unreadable")
    message = f"{what}: {fault.kind} ({cause}); {known}"
    return ApiError(message, executed=fault.executed, too_much=too_much)


def refused(
    what: str, status: int, headers: Mapping[str, str], body: str, wait: float | None
) -> BridgeError:
    """Return the exception for an answer other than 2xx; `wait` is what a 429 asks for."""
    own = is_own_form(body)
    verdict, executed = meaning(status, own=own)
    codes, details = error_parts(body) if own else ((), ())
    said = "; ".join(details)[:1_000] or "no details"
    if 300 <= status < 400:
        said = f"a redirect to {_host(headers.get('location', ''))}, which is never followed"
    elif not own:
        said = "not in the API's own form of error, so perhaps from a proxy on the way"
    message, body = f"{what}: answered {status}: {said}", body[:_LONGEST_BODY]
    match verdict:
        case Verdict.KEY:
            return AccessError(message, status=status, body=body, own=own, executed=executed)
        case Verdict.BUSY:
            return RateLimited(message, wait=wait, body=body)
        case Verdict.REFUSED:
            return ApiRejected(message, status=status, codes=codes, details=details, body=body)
    return ApiError(message, executed=executed, status=status, body=body)


def foreign(what: str, status: int, body: str, why: str) -> ApiError:
    """Return the exception for a 2xx whose body is not what the operation answers."""
    message = f"{what}: answered {status}, but {why}"
    return ApiError(message, executed=None, status=status, body=body[:_LONGEST_BODY])


def error_parts(body: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the codes and the readable details of an error body; both empty when it has none.

    Forms: `{"errors": [{"code", "title", "detail"?, "source"?}]}` and
    `{"detail": [{"loc", "msg", "type"}]}`, also with a plain text under `detail`.
    """
    try:
        document = jsontext.loads(body)
    except ValueError:
        return (), ()
    if not isinstance(document, dict):
        return (), ()
    entries = document.get("errors", document.get("detail"))
    if isinstance(entries, str):
        return (), (entries,)
    found = [entry for entry in _list(entries) if isinstance(entry, dict)]
    codes = (_text(entry.get("code", entry.get("type"))) for entry in found)
    details = (_detail(entry) for entry in found)
    return tuple(filter(None, codes)), tuple(filter(None, details))


def _detail(entry: dict[str, Any]) -> str:
    source = entry.get("source")
    if isinstance(source, dict):
        place = _text(source.get("pointer", source.get("parameter")))
    else:
        place = "".join(f"/{_text(part)}" for part in _list(entry.get("loc")))
    words = [_text(entry.get(name)) for name in ("code", "title", "detail", "msg")]
    if place:
        words.append(f"({place})")
    return " ".join(filter(None, words))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else jsontext.dumps(value)


def _host(location: str) -> str:
    try:
        return urlsplit(location).hostname or "its own host"
    except ValueError:
        return "an unreadable address"
