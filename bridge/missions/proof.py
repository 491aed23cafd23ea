"""What an answer other than 2xx proves about the request that it answers. Pure: one table.

Who may have sent it shows in its form. The API has two forms of error, and nothing else is the
API's own: proxies, gateways and firewalls answer with HTML, with nothing, or with other JSON.

    status              in the API's own form      in any other form
    401                 not carried out, the key   not carried out, the key
    403                 not carried out, the key   unknown, the key
    429                 not carried out, busy      not carried out, busy
    407 421 425         not carried out            not carried out
    408                 unknown                    unknown
    any other 4xx       not carried out, refused   unknown
    1xx 3xx 5xx, other  unknown                    unknown

*Refused* is final for a write, and 404 and 410 prove absence. *The key*: a probe tells whether the
key or this one request is refused. *Not carried out* is tried again. *Unknown*: a read is asked
again, a write is followed by looks for its effect. RFC 9110 and 8470 say of 401, 407, 421 and 425
that the request was not applied or not passed on; whoever limits rates (429) does so before. A
proxy that looks at answers may say 403 or 404 after the effect, and a redirect (303) may follow it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final, NamedTuple

from bridge.missions import jsontext

ABSENT: Final = frozenset({404, 410})
"""Refusals which say that the thing is not there."""


class Verdict(Enum):
    """What an answer is about."""

    REFUSED = auto()
    KEY = auto()
    BUSY = auto()
    NO_ANSWER = auto()


class Meaning(NamedTuple):
    """A verdict, and what is known of the request: False not carried out, None unknown."""

    verdict: Verdict
    executed: bool | None


_REFUSED: Final = Meaning(Verdict.REFUSED, executed=False)
_KEY: Final = Meaning(Verdict.KEY, executed=False)
_KEY_PERHAPS: Final = Meaning(Verdict.KEY, executed=None)
_BUSY: Final = Meaning(Verdict.BUSY, executed=False)
_NOT_PASSED_ON: Final = Meaning(Verdict.NO_ANSWER, executed=False)
_UNKNOWN: Final = Meaning(Verdict.NO_ANSWER, executed=None)

_SPECIAL: Final = {
    401: (_KEY, _KEY),
    403: (_KEY, _KEY_PERHAPS),
    407: (_NOT_PASSED_ON, _NOT_PASSED_ON),
    408: (_UNKNOWN, _UNKNOWN),
    421: (_NOT_PASSED_ON, _NOT_PASSED_ON),
    425: (_NOT_PASSED_ON, _NOT_PASSED_ON),
    429: (_BUSY, _BUSY),
}
"""In the API's own form, and in any other."""


def meaning(status: int, *, own: bool) -> Meaning:
    """Return what a status other than 2xx means; `own`: its body has the API's own form."""
    in_own_form, otherwise = _SPECIAL.get(
        status, (_REFUSED if 400 <= status < 500 else _UNKNOWN, _UNKNOWN)
    )
    return in_own_form if own else otherwise


def is_own_form(body: str) -> bool:
    """Say whether an error body has one of the API's two forms.

    `{"errors": [{"title" or "detail": text, ...}, ...]}` is the general one,
    `{"detail": text or [{"msg": text, ...}, ...]}` with nothing beside it that of FastAPI.
    """
    try:
        document = jsontext.loads(body)
    except ValueError:
        return False
    match document:
        case {"errors": [_, *_] as errors}:
            return all(_has_text(error, "title", "detail") for error in errors)
        case {"detail": str()}:
            return len(document) == 1
        case {"detail": [_, *_] as details}:
            return len(document) == 1 and all(_has_text(each, "msg") for each in details)
    return False


def _has_text(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and any(isinstance(value.get(name), str) for name in names)
