"""One rate budget for all callers of the API, slowed down by what its answers say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from aiolimiter import AsyncLimiter

from bridge import telemetry
from bridge.clock import LATEST, SECOND, Clock, Micros

SHORTEST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Bounds, in seconds, of every wait that an answer may ask for, whatever it says."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_http_date(value: str) -> Micros | None:
    """Return the time of an HTTP date; None when it is none, or lies before 1970."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # written as -0000; HTTP dates are UTC whatever they say
        date = date.replace(tzinfo=UTC)
    at = (date - _EPOCH) // timedelta(microseconds=1)
    return at if 0 <= at <= LATEST else None


def parse_retry_after(value: str, now: Micros) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None when it says nothing.

    `value` is a number of seconds or an HTTP date. The result lies between SHORTEST_WAIT and
    LONGEST_WAIT, also for zero, negative, past and absurdly long values.
    """
    try:
        seconds = float(value)
    except ValueError:
        date = parse_http_date(value)
        if date is None:
            return None
        seconds = (date - now) / SECOND
    return None if math.isnan(seconds) else _bounded(seconds)


def asked_wait(headers: Mapping[str, str], now: Micros) -> float | None:
    """Return how long a 429 asks to wait: Retry-After, else x-ratelimit-reset, else None."""
    wait = parse_retry_after(headers.get("retry-after", ""), now)
    if wait is None and (reset := _number(headers, "x-ratelimit-reset")) is not None:
        wait = _bounded(reset)
    return wait


def window_wait(headers: Mapping[str, str]) -> float:
    """Return the seconds to the next request when the rate window is nearly used up, else 0.

    Below a tenth of the window's requests (below five, if the limit is not told) the rest is
    spread over the time that is left; with none left it is all of that time.
    """
    remaining = _number(headers, "x-ratelimit-remaining")
    reset = _number(headers, "x-ratelimit-reset")
    if remaining is None or reset is None or reset <= 0:
        return 0.0
    limit = _number(headers, "x-ratelimit-limit")
    few = 5.0 if limit is None else max(1.0, limit / 10)
    return min(reset, LONGEST_WAIT) / (max(remaining, 0.0) + 1) if remaining <= few else 0.0


class RateBudget:
    """Lets `rate` requests a second through, evenly, and none while the API asked for a pause."""

    def __init__(self, rate: float, clock: Clock) -> None:
        # A bucket of one: a larger one would let a whole second's requests through at once.
        self._limiter = AsyncLimiter(1, 1 / rate)
        self._clock = clock
        self._closed_until = -math.inf
        self._refusals = 0

    async def acquire(self) -> None:
        """Wait for the turn to send one request."""
        await self._limiter.acquire()
        while (wait := self._closed_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
            # All who waited wake at once: they queue again.
            await self._limiter.acquire()

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Take note of an answer; header names in lower case, or any if `headers` ignores case."""
        if status == 429:
            self._refusals += 1
            asked = asked_wait(headers, self._clock.now())
            doubled = min(LONGEST_WAIT, SHORTEST_WAIT * 2.0 ** min(self._refusals - 1, 10))
            self._pause(doubled if asked is None else asked, "429")
            return
        self._refusals = 0
        if status == 503 and "retry-after" in headers:
            self._pause(asked_wait(headers, self._clock.now()) or 0.0, "503 with Retry-After")
        else:
            self._pause(window_wait(headers), "rate window nearly used up")

    def _pause(self, seconds: float, reason: str) -> None:
        now = self._clock.monotonic()
        longer = now + seconds - max(self._closed_until, now)
        if longer > 0:
            self._closed_until = now + seconds
            telemetry.api_waiting(longer, reason)


class Turns:
    """One caller's place in a budget that several share: of n that wait each has every n-th turn.

    A caller has one request in the queue of the budget at a time; its others wait here.
    """

    def __init__(self, budget: RateBudget) -> None:
        self._budget = budget
        self._next = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait for the turn to send one request."""
        async with self._next:
            await self._budget.acquire()

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Take note of an answer, for all callers."""
        self._budget.observe(status, headers)

    def for_another(self) -> Turns:
        """Return the place of another caller."""
        return Turns(self._budget)


def _bounded(seconds: float) -> float:
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(headers.get(name, ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
