"""What can go wrong, sorted by what the caller does next.

BridgeError
|-- Again                  the same step may be tried again later
|   |-- ApiError           the Missions API gave no usable answer; `executed` says what is known
|   |   `-- RateLimited    429; `wait` seconds, when the answer named them
|   |-- AccessError        401 or 403: the key or the request is refused; a probe tells which
|   |-- KafkaAway          no broker answered in time
|   |   `-- ClockOff       the brokers refuse records of the time that this machine's clock shows
|   |-- RegistryAway       the schema registry gave no usable answer
|   |   `-- RegistryRefused  it answered that we may not; at start a mistake of configuration
|   |-- TransactionLost    the transaction's fate is unknown: discard the producer, read back
|   `-- Unreadable         stored state of one partition: it waits until somebody mended it
|-- Never                  this request or record will not succeed, however often it is tried
|   |-- ApiRejected        the API itself refuses it: a 4xx in its own form of error
|   |-- InvalidId          an id that must not get near a URL
|   `-- InvalidRecord      bytes or fields that cannot be converted; `reason` names the kind
`-- Stop                   what runs now must end
    |-- Fenced             another owner took over: drop the source or partition and stand by
    |-- ConfigError        exit 78, every problem listed
    |-- StateError         exit 78, stored state does not fit; says how to mend it
    |   `-- Damaged         a source's checkpoint was altered: that source alone waits for repair
    |-- DependencyAway     exit 75, not reachable within the start-up time
    `-- GaveUp             exit 70, start-up is the recovery path
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_DIFFERENCE = 1
EXIT_USAGE = 64
EXIT_GAVE_UP = 70
EXIT_UNAVAILABLE = 75
EXIT_CONFIG = 78


class BridgeError(Exception):
    """Root of everything that the bridge raises on purpose."""


class Again(BridgeError):
    """The same step may be tried again later."""


class ApiError(Again):
    """The Missions API gave no usable answer.

    `executed` is what is known about the request: False (certainly not carried out: it never left,
    or the answer says so) or None (nobody can know: time-out after sending, reset, a broken 2xx,
    and what bridge/missions/proof.py lists). `too_much` says that a smaller answer might have
    come: it was slow, or too large.
    """

    def __init__(
        self,
        message: str,
        *,
        executed: bool | None,
        status: int | None = None,
        body: str | None = None,
        too_much: bool = False,
    ) -> None:
        super().__init__(message)
        self.executed = executed
        self.status = status
        self.body = body
        self.too_much = too_much


class RateLimited(ApiError):
    """429: not carried out; try again after `wait` seconds (None: the answer did not say)."""

    def __init__(self, message: str, *, wait: float | None, body: str | None = None) -> None:
        super().__init__(message, executed=False, status=429, body=body)
        self.wait = wait


class AccessError(Again):
    """401 or 403: the key is refused, or this request to this key; a probe tells which.

    `own`: it was said in the API's own form of error. `executed` as in ApiError.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: str | None = None,
        own: bool = True,
        executed: bool | None = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = body
        self.own = own
        self.executed = executed


class KafkaAway(Again):
    """No broker answered in time."""


class ClockOff(KafkaAway):
    """The brokers refuse records of the time that this machine's clock shows; none was written."""


class RegistryAway(Again):
    """The schema registry gave no usable answer."""


class RegistryRefused(RegistryAway):
    """The schema registry refuses: exit 78 at start, waited out later; names what it would take."""


class TransactionLost(Again):
    """The transaction failed or its fate is unknown: discard the producer and read back."""


class Unreadable(Again):
    """Stored state of one partition cannot be read: it waits, and is read again later."""


class Never(BridgeError):
    """This request or record will not succeed, however often it is tried."""


class ApiRejected(Never):
    """The API itself refuses the request: a 4xx in its own form of error (missions/proof.py).

    `codes` and `details` come from either error form of the API; decide by `status` alone.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        codes: Sequence[str] = (),
        details: Sequence[str] = (),
        body: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.codes = tuple(codes)
        self.details = tuple(details)
        self.body = body


class InvalidId(Never):
    """An id that must not get near a URL."""


class InvalidRecord(Never):
    """Bytes or fields that cannot be converted; `reason` is a short stable word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Undecodable(bytes):
    """Bytes in the place of a record's value that could not be read; decoding them raises `error`.

    Of a value that is too large they are the first; `length` is then its own length, and `sha256`
    the digest of the whole in hex, None where not all of it could be read.
    """

    reason: str
    message: str
    length: int | None
    sha256: str | None

    def __new__(
        cls,
        data: bytes,
        reason: str,
        message: str,
        *,
        length: int | None = None,
        sha256: str | None = None,
    ) -> Undecodable:
        """Make it of what could be read, and why that is all."""
        self = super().__new__(cls, data)
        self.reason, self.message = reason, message
        self.length, self.sha256 = length, sha256
        return self

    @property
    def error(self) -> InvalidRecord:
        """Why it could not be read."""
        return InvalidRecord(self.reason, self.message)


class Stop(BridgeError):
    """What runs now must end."""


class Fenced(Stop):
    """Another owner took over: drop the source or partition and stand by."""


class ConfigError(Stop):
    """The configuration has mistakes; `problems` lists every one, each with its variable's name."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StateError(Stop):
    """Stored state does not fit what runs; the message says how to mend it."""

    exit_code = EXIT_CONFIG


class Damaged(StateError):
    """A source's checkpoint has records that do not fit: the source waits until it is repaired."""


class DependencyAway(Stop):
    """A dependency could not be reached within the start-up time."""

    exit_code = EXIT_UNAVAILABLE


class GaveUp(Stop):
    """Too many resets in a row: end the process, start-up is the recovery path."""

    exit_code = EXIT_GAVE_UP
