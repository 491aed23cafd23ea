"""The API's timestamps as points in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from bridge.clock import Micros
from bridge.errors import InvalidRecord

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(text: str) -> Micros:
    """Return an RFC 3339 timestamp as microseconds; without a zone it is taken for UTC.

    Digits beyond the sixth are cut off. Raises InvalidRecord("bad_timestamp").
    """
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidRecord("bad_timestamp", f"{text[:64]!r} is no date-time") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(text: str | None) -> Micros | None:
    """Return a timestamp as microseconds; None for none, and for text that is none."""
    try:
        return None if text is None else micros(text)
    except InvalidRecord:
        return None
