"""Headers of records: CloudEvents on what is published, the origin on dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from bridge.clock import SECOND, Micros
from bridge.errors import InvalidRecord

Headers = tuple[tuple[str, bytes], ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Micros = 60 * SECOND
_CONTENT_TYPE = ("content-type", b"application/avro")
_VERSION = ("ce_specversion", b"1.0")
_MESSAGE_LIMIT = 1_000


def cloud_event(*, id: str, source: str, type: str, time: Micros, subject: str) -> Headers:  # noqa: A002
    """Return the headers of CloudEvents 1.0 in Kafka's binary mode; the value is Avro.

    The arguments are the attributes of the same name; `time` is when it happened. Raises
    InvalidRecord("unencodable") for text that UTF-8 cannot hold and for years beyond 1..9999.
    """
    try:
        return (
            _CONTENT_TYPE,
            _VERSION,
            ("ce_id", id.encode()),
            ("ce_source", source.encode()),
            ("ce_type", type.encode()),
            ("ce_time", _rfc3339(time)),
            ("ce_subject", subject.encode()),
        )
    except UnicodeEncodeError as error:
        raise InvalidRecord("unencodable", f"text that UTF-8 cannot hold: {error}") from error


def dead_letter(
    *,
    stage: str,
    error: Exception,
    failed_at: Micros,
    topic: str | None = None,
    partition: int | None = None,
    offset: int | None = None,
) -> Headers:
    """Return what a dead letter says about its origin, under the names of Kafka Connect.

    `stage` is the step that failed (`VALUE_CONVERTER` and the like). Topic, partition and offset
    are those of the original record; what did not come from Kafka has none. `bridge_error_class`
    is the reason of an InvalidRecord, else the name of the exception's class.
    """
    kind = type(error)
    reason = error.reason if isinstance(error, InvalidRecord) else kind.__name__
    message = str(error)[:_MESSAGE_LIMIT].encode(errors="backslashreplace")
    origin = (("topic", topic), ("partition", partition), ("offset", offset))
    return (
        *((f"__connect.errors.{name}", str(at).encode()) for name, at in origin if at is not None),
        ("__connect.errors.stage", stage.encode()),
        (
            "__connect.errors.exception.class.name",
            f"{kind.__module__}.{kind.__qualname__}".encode(),
        ),
        ("__connect.errors.exception.message", message),
        ("bridge_error_class", reason.encode()),
        ("bridge_failed_at", _rfc3339(failed_at)),
    )


def readable(name: str) -> str:
    """Return a header's name with the bytes that are no UTF-8 written as escapes."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _rfc3339(time: Micros) -> bytes:
    minutes, rest = divmod(time, _MINUTE)
    try:
        begin = _minute(minutes)
    except OverflowError as error:
        raise InvalidRecord("unencodable", f"{time} µs is outside the years 1..9999") from error
    return b"%b%02d.%06dZ" % (begin, *divmod(rest, SECOND))


@lru_cache(maxsize=1024)  # many events share a minute
def _minute(minutes: int) -> bytes:
    """Return how the times of a minute begin: 2026-03-09T12:00: and so on."""
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17].encode()
