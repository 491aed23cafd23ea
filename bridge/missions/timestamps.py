"""The API's timestamps as points in time."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from bridge.clock import EARLIEST, LATEST, SECOND, Micros
from bridge.errors import InvalidRecord

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAP: Final = re.compile(r"(.*[T ]\d\d:?\d\d:?)60(?:[.,]\d+)?(Z|[+-][\d:]+)?", re.ASCII)


def micros(text: str) -> Micros:
    """Return an RFC 3339 timestamp as microseconds; without a zone it is taken for UTC.

    Digits beyond the sixth are cut off. A leap second (:60) is the beginning of the next second,
    as a clock that repeats a second would show it. Raises InvalidRecord("bad_timestamp"), also for
    a zone that leads out of years 1 to 9999.
    """
    try:
        moment, extra = datetime.fromisoformat(text.upper()), 0
    except ValueError as error:
        leap = _LEAP.fullmatch(text[:64].upper())
        if leap is None:
            raise _bad(text) from error
        moment, extra = _second_59(leap, text), SECOND
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    at = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds + extra
    if not EARLIEST <= at <= LATEST:
        raise _bad(text)
    return at


def _second_59(leap: re.Match[str], text: str) -> datetime:
    try:
        return datetime.fromisoformat(f"{leap[1]}59{leap[2] or ''}")
    except ValueError as error:
        raise _bad(text) from error


def _bad(text: str) -> InvalidRecord:
    return InvalidRecord("bad_timestamp", f"{text[:64]!r} is no date-time")


def moment(text: str | None) -> Micros | None:
    """Return a timestamp as microseconds; None for none, and for text that is none."""
    try:
        return None if text is None else micros(text)
    except InvalidRecord:
        return None
