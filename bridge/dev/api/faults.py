"""What the simulated API does wrong: standing behaviour, and faults that strike single requests."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bridge.dev.api.feed import Order


class Behaviour(BaseModel):
    """How the API is, where its documentation leaves a choice or a server may be odd."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    order: Order = Field(default="newest", description="order of the event lists")
    shuffle_ties: bool = Field(
        default=False,
        description="equal timestamps stand in another order on each read (orders newest, oldest)",
    )
    newest_only: int | None = Field(
        default=None, ge=1, description="the global feed ends after the newest N events"
    )
    max_page_size: int = Field(
        default=1000, ge=1, le=1000, description="larger pages are cut to this size; meta says so"
    )
    page_size: int | None = Field(
        default=None, ge=1, description="pages have this size, whatever is asked for; meta says so"
    )
    filter_after_limit: bool = Field(
        default=False, description="deleted events keep their positions, so pages come out short"
    )
    granularity: float = Field(default=0, ge=0, description="seconds; timestamps fall on this grid")
    late_probability: float = Field(
        default=0, ge=0, le=1, description="share of new events that are late"
    )
    late_seconds: float = Field(default=60, ge=0, description="how late at most")
    date: bool = Field(default=True, description="answers have a Date header")
    date_offset: float = Field(default=0, description="seconds by which the Date header is wrong")
    rate_limit: int | None = Field(
        default=None, ge=1, description="requests a minute; more get 429; x-ratelimit-* headers"
    )
    idempotency: bool = Field(
        default=True, description="log event knows an idempotency_key again (answer: 200)"
    )
    illegal_status: Literal[400, 409, 422] = Field(
        default=400,
        description="answer to an illegal transition, a second plan, a step id used twice",
    )
    error_form: Literal["telnyx", "fastapi"] = Field(
        default="telnyx", description="validation failures: 400 with errors, or 422 with detail"
    )
    autorun: bool = Field(
        default=False, description="runs started through the API are running at the next request"
    )
    rate: float = Field(
        default=0, ge=0, description="events a second that the world makes by itself"
    )


class _Fault(BaseModel):
    """Whom a fault strikes: an operation's name, `reads`, `writes` or `*`."""

    model_config = ConfigDict(extra="forbid")

    operation: str = "*"
    times: int | None = Field(default=None, ge=1, description="strikes so often, then is gone")
    probability: float = Field(default=1.0, ge=0, le=1)
    every: int = Field(default=1, ge=1, description="strikes every k-th request that matches")


class Drift(_Fault):
    """Before the request is read, events appear and whole missions vanish with their events."""

    kind: Literal["drift"]
    operation: str = "list_events"
    insert: int = Field(default=0, ge=0, description="events, in a run of their own")
    delete: int = Field(default=0, ge=0, description="missions, taken at random")


class StatusFault(_Fault):
    """An error instead of the answer, or with `effect` after the request was carried out."""

    kind: Literal["status"]
    status: int = Field(ge=300, le=599)
    effect: bool = False
    retry_after: str | None = Field(
        default=None, description="the Retry-After header, word for word"
    )
    headers: dict[str, str] = Field(default_factory=dict)


class Withhold(_Fault):
    """The request is carried out, the answer never comes; the connection stays open."""

    kind: Literal["withhold"]
    effect: bool = True


class Drop(_Fault):
    """The request is carried out, then the connection is closed without an answer."""

    kind: Literal["drop"]
    effect: bool = True


class LateEffect(_Fault):
    """No answer comes, and the request is carried out only later."""

    kind: Literal["late_effect"]
    operation: str = "writes"
    seconds: float = Field(default=60, ge=0)


class Slow(_Fault):
    """The answer waits, the effect does not; with `pace` the body drips, bytes a second."""

    kind: Literal["slow"]
    seconds: float = Field(default=0, ge=0)
    pace: float | None = Field(default=None, gt=0)


class Cut(_Fault):
    """The connection closes after `keep` bytes of the body (default: half of it)."""

    kind: Literal["cut"]
    keep: int | None = Field(default=None, ge=0)


class Overrun(_Fault):
    """The content-length is too small: `declared` bytes (default: half of the body)."""

    kind: Literal["overrun"]
    declared: int | None = Field(default=None, ge=0)


class BodyFault(_Fault):
    """Another body after the effect: HTML, an empty one, broken JSON, `{"data":null}`."""

    kind: Literal["body"]
    status: int = Field(default=200, ge=200, le=599)
    text: str = "<html><body>Please stand by</body></html>"
    content_type: str = "text/html; charset=utf-8"


class Bomb(_Fault):
    """A small gzip body that unpacks to a valid, empty page of so many MiB."""

    kind: Literal["bomb"]
    operation: str = "reads"
    megabytes: int = Field(default=512, ge=1, le=4096)


class Echo(_Fault):
    """Wrong figures in a page's meta; without any figure the next page's number."""

    kind: Literal["echo"]
    operation: str = "list_events"
    page_number: int | None = None
    page_size: int | None = None
    total_pages: int | None = None
    total_results: int | None = None


class StaleFault(_Fault):
    """An event list as it was so many seconds ago; with `age` the answer says so."""

    kind: Literal["stale"]
    operation: str = "list_events"
    seconds: float = Field(ge=0)
    age: bool = False


Fault = Annotated[
    Drift
    | StatusFault
    | Withhold
    | Drop
    | LateEffect
    | Slow
    | Cut
    | Overrun
    | BodyFault
    | Bomb
    | Echo
    | StaleFault,
    Field(discriminator="kind"),
]
KINDS: tuple[type[_Fault], ...] = (
    Drift,
    StatusFault,
    Withhold,
    Drop,
    LateEffect,
    Slow,
    Cut,
    Overrun,
    BodyFault,
    Bomb,
    Echo,
    StaleFault,
)
_faults: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


def parse_faults(value: object, operations: frozenset[str]) -> list[Fault]:
    """One fault or a list of them from JSON; ValueError says what is wrong."""
    try:
        faults = _faults.validate_python(value if isinstance(value, list) else [value])
    except ValidationError as error:
        raise ValueError(explained(error)) from None
    for fault in faults:
        if fault.operation not in operations | {"*", "reads", "writes"}:
            known = ", ".join(sorted(operations))
            raise ValueError(f"no operation {fault.operation!r}; *, reads, writes or: {known}")
    return faults


def parse_behaviour(value: Mapping[str, object]) -> Behaviour:
    """Behaviour from JSON; ValueError says what is wrong."""
    try:
        return Behaviour.model_validate(value)
    except ValidationError as error:
        raise ValueError(explained(error)) from None


def explained(error: ValidationError) -> str:
    """Every mistake in one line."""
    mistakes = (
        f"{'.'.join(map(str, mistake['loc'])) or 'value'}: {mistake['msg']}"
        for mistake in error.errors()
    )
    return "; ".join(mistakes)


class Faults:
    """The faults that are switched on, and how often each struck."""

    def __init__(self, seed: int, always: Sequence[Fault] = ()) -> None:
        self._rng = Random(f"{seed}/faults")
        self._always = tuple(always)
        self._active: list[_Active] = []
        self.reset()

    def add(self, faults: Sequence[Fault]) -> None:
        """Switch faults on, after those that are on already."""
        self._active.extend(_Active(fault) for fault in faults)

    def reset(self) -> None:
        """Back to the faults of the start."""
        self._active = [_Active(fault) for fault in self._always]

    def strike(self, operation: str, method: str) -> list[Fault]:
        """The faults for this request: of each kind the first that strikes.

        So several of one kind with `times` strike one request after the other.
        """
        names = {operation, "reads" if method == "GET" else "writes", "*"}
        struck: dict[str, Fault] = {}
        for active in self._active:
            fault = active.fault
            if fault.operation in names and fault.kind not in struck and active.draw(self._rng):
                struck[fault.kind] = fault
        self._active = [active for active in self._active if not active.spent]
        return list(struck.values())

    def describe(self) -> list[dict[str, Any]]:
        """Each fault with how often it struck."""
        return [{**a.fault.model_dump(), "struck": a.struck} for a in self._active]


class _Active:
    """A fault that is switched on."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.struck = 0
        self._matched = 0

    @property
    def spent(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times

    def draw(self, rng: Random) -> bool:
        """Whether it strikes the request that matches now."""
        self._matched += 1
        if self._matched % self.fault.every:
            return False
        if self.fault.probability < 1 and rng.random() >= self.fault.probability:
            return False
        self.struck += 1
        return True


@lru_cache(maxsize=4)
def bomb(megabytes: int) -> bytes:
    """Gzip of an empty page followed by so many MiB of blanks."""
    packer = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
    page = (
        b'{"data":[],"meta":{"total_pages":0,"total_results":0,"page_number":1,"page_size":1000}}'
    )
    parts = [packer.compress(page)]
    blank = b" " * 2**20
    parts.extend(packer.compress(blank) for _ in range(megabytes))
    return b"".join([*parts, packer.flush()])
