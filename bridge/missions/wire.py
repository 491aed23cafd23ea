"""One request, one answer: everything between an operation and the network.

The key is put into a request here and nowhere else.
"""

from __future__ import annotations

import asyncio
import copy
import re
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path

import httpx

from bridge import __version__, telemetry
from bridge.clock import Clock
from bridge.errors import AccessError, ConfigError, InvalidId
from bridge.http_body import BodyDecoder, UnreadableBody
from bridge.missions.faults import FOREIGN, fault_of, refused, translated
from bridge.missions.pacing import RateBudget, Turns, asked_wait

LONGEST_BODY = 64 * 2**20
"""Bytes of a 2xx body, decoded: a page of 1,000 events may have 64 kB for each."""

LONGEST_ERROR = 64 * 2**10
"""Bytes of any other body; what goes beyond is left unread."""

_KEEPALIVE = 3.0
"""Seconds a connection may idle: less than servers allow (uvicorn: 5), since one that closes a
connection while we write to it leaves us not knowing whether it took the request."""

_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")
_SHORTEST_SECRET = 16
"""A shorter key could be a word that stands in a body by chance."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A 2xx answer. `what` names the request, `sent` is monotonic, `took` in seconds."""

    what: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    sent: float
    took: float


class _NoCookies(CookieJar):
    """Takes none and gives none, without looking at the answer."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Leave them where they are."""

    def add_cookie_header(self, request: object) -> None:
        """Add nothing."""


class Wire:
    """A connection pool to one API with one key and one share in a rate budget."""

    def __init__(
        self,
        *,
        base_url: str,
        key: Callable[[], str],
        budget: RateBudget,
        clock: Clock,
        timeout: float,
        proxy: str | None,
        ca_file: Path | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self._base = _checked(base_url)
        self._key = key
        self._budget = Turns(budget)
        self._clock = clock
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            transport=transport or _transport(timeout, proxy, ca_file),
            # Name resolution, connecting and waiting for the pool end well before the whole call
            # does, so that they are told apart from a request that may have been sent.
            timeout=httpx.Timeout(timeout, connect=timeout / 4, pool=timeout / 4),
            follow_redirects=False,
            trust_env=False,
            cookies=_NoCookies(),
        )

    def for_another(self) -> Wire:
        """Return this pool for another caller, who has turns of its own in the rate budget."""
        other = copy.copy(self)
        other._budget = self._budget.for_another()  # noqa: SLF001 - of this very class
        return other

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def exchange(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: str | None = None,
        check: Callable[[], None] | None = None,
    ) -> RawAnswer:
        """Send one request when the budget allows and return its 2xx answer.

        `path` is relative to /ai/missions. `check` is called when the budget let the request
        through and again right before its first byte is written; what it raises ends the call
        with nothing sent.

        Raises:
            ApiError: no usable answer; `executed` says what is known.
            RateLimited, AccessError, ApiRejected: the answer's status.
            InvalidId: the URL would lead elsewhere.
        """
        await self._budget.acquire()
        if check is not None:
            check()
        what, key = f"{operation} ({method} {path or '/'})", self._usable_key()
        request = self._request(method, self._url(path, params), body, key, check)
        sent = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                response, content = await self._send(request)
        except FOREIGN as error:
            telemetry.api_answered(operation, fault_of(error).kind, self._clock.monotonic() - sent)
            raise translated(what, error) from error
        took = self._clock.monotonic() - sent
        telemetry.api_answered(operation, str(response.status_code), took)
        if len(key) >= _SHORTEST_SECRET:  # an answer may echo the request's headers
            content = content.replace(key.encode(), b"[key]")
        if response.is_success:
            return RawAnswer(what, response.status_code, response.headers, content, sent, took)
        wait = asked_wait(response.headers, self._clock.now())
        text = content.decode(errors="replace")
        raise refused(what, response.status_code, response.headers, text, wait)

    async def _send(self, request: httpx.Request) -> tuple[httpx.Response, bytes]:
        response = await self._http.send(request, stream=True)
        try:
            self._budget.observe(response.status_code, response.headers)
            return response, await _read(response)
        finally:
            await response.aclose()

    def _request(
        self,
        method: str,
        url: httpx.URL,
        body: str | None,
        key: str,
        check: Callable[[], None] | None,
    ) -> httpx.Request:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip, identity",
            "Authorization": f"Bearer {key}",
            "Cache-Control": "no-cache",
            "User-Agent": f"mission-bridge/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._http.build_request(
            method,
            url,
            headers=headers,
            content=None if body is None else body.encode(),
            extensions={} if check is None else {"trace": _before_headers(check)},
        )

    def _url(self, path: str, params: Mapping[str, str | int] | None) -> httpx.URL:
        target = f"{self._base.raw_path.decode().rstrip('/')}/ai/missions{path}"
        if params:
            target = f"{target}?{httpx.QueryParams(params)}"
        url = self._base.copy_with(raw_path=target.encode("ascii"))
        origin = (self._base.scheme, self._base.host, self._base.port)
        if (url.scheme, url.host, url.port) != origin or url.raw_path.decode() != target:
            raise InvalidId(f"{path!r} would lead to {url.host}{url.path}: not sent")
        return url

    def _usable_key(self) -> str:
        """Return the key, read anew; one that no header can carry counts as refused (401)."""
        key = self._key()
        if not _HEADER_SAFE.fullmatch(key):
            raise AccessError(
                "the API key is empty or has spaces, line ends or characters beyond ASCII; "
                "nothing was sent: check TELNYX_API_KEY or the file it comes from",
                status=401,
            )
        return key


async def _read(response: httpx.Response) -> bytes:
    """Return the decoded body; of an answer other than 2xx, what fits into its limit."""
    limit = LONGEST_BODY if response.is_success else LONGEST_ERROR
    body = BodyDecoder(response.headers.get("content-encoding", ""), limit)
    stream: httpx.AsyncByteStream = response.stream  # type: ignore[assignment]
    async for chunk in stream:
        body.take(chunk)
        if body.is_full:
            if response.is_success:
                raise UnreadableBody(f"more than {limit} bytes")
            break
    return body.content()


def _before_headers(check: Callable[[], None]) -> Callable[[str, object], object]:
    async def trace(event: str, _info: object) -> None:
        if event == "http11.send_request_headers.started":
            check()

    return trace


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError([f"TELNYX_BASE_URL: {error}"]) from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise ConfigError(["TELNYX_BASE_URL: expected https://host[:port]/path"])
    if url.userinfo:  # httpx would send it instead of the key
        raise ConfigError(["TELNYX_BASE_URL: a user name or password does not belong in it"])
    return url


def _transport(timeout: float, proxy: str | None, ca_file: Path | None) -> httpx.AsyncHTTPTransport:
    try:
        tls = (
            httpx.create_ssl_context(trust_env=False)
            if ca_file is None
            else ssl.create_default_context(cafile=str(ca_file))
        )
    except OSError as error:
        raise ConfigError([f"BRIDGE_API__CA_FILE: {ca_file}: {error}"]) from error
    return httpx.AsyncHTTPTransport(
        verify=tls,
        trust_env=False,
        proxy=proxy,
        limits=httpx.Limits(max_connections=64, keepalive_expiry=_KEEPALIVE),
        socket_options=_socket_options(timeout),
    )


def _socket_options(timeout: float) -> list[tuple[int, int, bytes] | tuple[int, int, int]]:
    """Options that keep the kernel from delivering a request after we have given it up.

    Closing discards unsent bytes (SO_LINGER with 0 s), and bytes that are not acknowledged in
    time end the connection (TCP_USER_TIMEOUT, in ms, where the platform has it).
    """
    options: list[tuple[int, int, bytes] | tuple[int, int, int]] = [
        (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]
    user_timeout: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if user_timeout is not None:
        options.append((socket.IPPROTO_TCP, user_timeout, round(timeout * 1_000)))
    return options
