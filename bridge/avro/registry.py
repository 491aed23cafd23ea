"""A client of the schema registry: Confluent's REST interface, which others serve as well.

One method, one question; nothing is cached. A request that meets a server in trouble (429, 5xx, a
connection that breaks) is made again a few times, so that a long sequence of them need not begin
anew; all of them may be repeated.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from bridge.clock import Clock
from bridge.config.models import RegistrySettings
from bridge.errors import ConfigError, RegistryAway, RegistryRefused
from bridge.http_body import BodyDecoder, UnreadableBody

Level = Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"]

_T = TypeVar("_T")

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_MAX_ANSWER: Final = 4_000_000
_PAUSES: Final = (0.1, 0.2, 0.4, 0.8)
"""Seconds before each new try of one request."""
_BROKEN: Final = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
_IN_TROUBLE: Final = frozenset({429, 500, 502, 503, 504})


class Registered(NamedTuple):
    """A schema as the registry holds it."""

    schema_id: int
    text: str


class _Refusal(NamedTuple):
    """An answer of 404, 409 or 422 that the registry itself gave."""

    status: int
    code: object
    message: str


class Registry:
    """Asks one schema registry.

    Every method raises RegistryAway when there is no usable answer: unreachable, too slow, a
    status that says so (429, 5xx), or something else than a registry at this address; and
    RegistryRefused where it may not do what was asked (401, 403, a registry that is read-only).
    """

    def __init__(
        self,
        url: str,
        *,
        basic_auth: SecretStr | None = None,
        bearer_token: SecretStr | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the base URL (with `/apis/ccompat/v7` for Apicurio) and one way to log in.

        `basic_auth` is `user:password`; `timeout` is seconds for a whole answer.
        """
        self._clock = clock or Clock()
        headers = {
            "accept": f"{_MEDIA_TYPE}, application/json",
            "accept-encoding": "identity",
            "content-type": _MEDIA_TYPE,
        }
        if bearer_token is not None:
            headers["authorization"] = f"Bearer {bearer_token.get_secret_value()}"
        user, _, password = (basic_auth.get_secret_value() if basic_auth else "").partition(":")
        base = httpx.URL(url.rstrip("/") + "/")
        self.url = str(base.copy_with(userinfo=b"")).rstrip("/")
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            auth=httpx.BasicAuth(user, password) if basic_auth else None,
            verify=tls or True,
            timeout=timeout,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    @classmethod
    def of(cls, settings: RegistrySettings) -> Self:
        """Return a client for these settings. Raises ConfigError for certificates of no use."""
        return cls(
            settings.url,
            basic_auth=settings.basic_auth,
            bearer_token=settings.bearer_token,
            tls=_tls(settings),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def register(self, subject: str, text: str) -> int:
        """Register a schema under a subject, or find it there, and return its id.

        Raises ConfigError if the registry refuses: not compatible (409) or not accepted (422).
        """
        answer = await self._ask("POST", f"subjects/{_quoted(subject)}/versions", {"schema": text})
        if isinstance(answer, _Refusal) and answer.status in {409, 422}:
            problem = f"the registry at {self.url} refuses the schema of {subject}: "
            raise ConfigError([problem + _advice(answer)])
        return self._field(self._expect(answer), "id", int)

    async def lookup(self, subject: str, text: str) -> int | None:
        """Return the id that a schema has under a subject, None if it is not registered there."""
        for path in (f"subjects/{_quoted(subject)}", f"subjects/{_quoted(subject)}?normalize=true"):
            # Some registries compare the text letter by letter unless asked to normalise.
            answer = await self._ask("POST", path, {"schema": text})
            if not _missing(answer):
                return self._field(self._expect(answer), "id", int)
        return None

    async def latest(self, subject: str) -> Registered | None:
        """Return the newest schema of a subject, None if the subject has none."""
        return await self.version(subject, "latest")

    async def versions(self, subject: str) -> list[int]:
        """Return the version numbers of a subject, oldest first; none if it is unknown.

        With those that were deleted, unless for good: records written with them are still there.
        """
        answer = await self._ask("GET", f"subjects/{_quoted(subject)}/versions?deleted=true")
        if _missing(answer):
            return []
        found = self._expect(answer)
        if not isinstance(found, list) or not all(isinstance(number, int) for number in found):
            raise self._away(f"not a list of versions: {str(found)[:200]!r}")
        return sorted(found)

    async def version(self, subject: str, number: int | Literal["latest"]) -> Registered | None:
        """Return one version of a subject, a deleted one too; None if there is no such version."""
        deleted = "" if number == "latest" else "?deleted=true"
        answer = await self._ask("GET", f"subjects/{_quoted(subject)}/versions/{number}{deleted}")
        if _missing(answer):
            return None
        found = self._expect(answer)
        return Registered(self._field(found, "id", int), self._field(found, "schema", str))

    async def by_id(self, schema_id: int) -> str | None:
        """Return the text of the schema with this id, None if the registry says it has none."""
        if not 0 < schema_id < 2**31:
            return None  # ids are positive 32-bit integers; other paths some servers do not know
        answer = await self._ask("GET", f"schemas/ids/{schema_id}")
        return None if _missing(answer) else self._field(self._expect(answer), "schema", str)

    async def compatible(self, subject: str, text: str) -> bool:
        """Tell whether a schema may follow the subject's newest; a new subject takes any."""
        path = f"compatibility/subjects/{_quoted(subject)}/versions/latest"
        answer = await self._ask("POST", path, {"schema": text})
        if isinstance(answer, _Refusal):
            return answer.status == 404
        return self._field(answer, "is_compatible", bool)

    async def level(self, subject: str) -> str | None:
        """Return the compatibility level set for a subject, None if it follows the global one."""
        answer = await self._ask("GET", f"config/{_quoted(subject)}")
        if _missing(answer):
            return None
        return self._level_in(answer)

    async def set_level(self, subject: str, level: Level) -> None:
        """Set the compatibility level of a subject, which need not exist yet."""
        path = f"config/{_quoted(subject)}"
        self._level_in(await self._ask("PUT", path, {"compatibility": level}))

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the answer's JSON, or a _Refusal; tries again as the module says."""
        for pause in (*_PAUSES, None):
            try:
                response, text = await self._once(method, path, body)
            except _BROKEN as error:
                if pause is None:
                    raise self._away(_named(error)) from error
            except (httpx.HTTPError, httpx.InvalidURL, UnreadableBody, TimeoutError) as error:
                raise self._away(_named(error)) from error
            else:
                if pause is None or response.status_code not in _IN_TROUBLE:
                    return self._judge(method, path, response, text)
            await self._clock.sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _once(self, method: str, path: str, body: object) -> tuple[httpx.Response, bytes]:
        content = None if body is None else json.dumps(body).encode()
        async with (
            asyncio.timeout(self._timeout),
            self._http.stream(method, path, content=content) as response,
        ):
            return response, await _read(response)

    def _judge(self, method: str, path: str, response: httpx.Response, text: bytes) -> Any:
        """Return the JSON of an answer, or a _Refusal."""
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        if response.is_success and answer is not None:
            return answer
        if isinstance(answer, dict) and _is_refusal(response.status_code, answer.get("error_code")):
            code = answer.get("error_code")
            return _Refusal(response.status_code, code, str(answer.get("message")))
        shown = text[:200].decode(errors="replace")
        reason = f"{method} {path} was answered by {response.status_code} {shown!r}"
        if response.status_code in {401, 403}:
            raise RegistryRefused(
                f"the schema registry at {self.url} refuses: {reason}; "
                f"{_right(method, path, response.status_code)}"
            )
        raise self._away(reason)

    def _expect(self, answer: Any) -> Any:
        """Return an answer that must not be a refusal."""
        if isinstance(answer, _Refusal) and answer.status != 404:
            raise RegistryRefused(f"the schema registry at {self.url} refuses: {_advice(answer)}")
        if isinstance(answer, _Refusal):
            raise self._away(f"it refuses: {answer.message}")
        return answer

    def _level_in(self, answer: Any) -> str:
        """Return the level in an answer; its name depends on the registry and its version."""
        found = self._expect(answer)
        named = isinstance(found, dict) and "compatibility" in found
        return self._field(found, "compatibility" if named else "compatibilityLevel", str)

    def _field(self, answer: Any, name: str, kind: type[_T]) -> _T:
        """Return a field of an answer that must have it."""
        value = answer.get(name) if isinstance(answer, dict) else None
        if not isinstance(value, kind):
            raise self._away(f"{name} is missing in {str(answer)[:200]!r}")
        return value

    def _away(self, reason: str) -> RegistryAway:
        return RegistryAway(f"the schema registry at {self.url} gives no usable answer: {reason}")


def _tls(settings: RegistrySettings) -> ssl.SSLContext | None:
    """Return how to trust the registry and to prove who we are; None: the usual certificates."""
    if settings.ca_file is None and settings.cert_file is None:
        return None
    try:
        context = (
            httpx.create_ssl_context()
            if settings.ca_file is None
            else ssl.create_default_context(cafile=settings.ca_file)
        )
    except OSError as error:  # ssl.SSLError is one
        problem = f"BRIDGE_REGISTRY__CA_FILE: {settings.ca_file}: {error}"
        raise ConfigError([problem]) from error
    if settings.cert_file is not None:
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        except OSError as error:
            problem = (
                f"BRIDGE_REGISTRY__CERT_FILE: {settings.cert_file}"
                f" with key {settings.key_file or 'in it'}: {error}"
            )
            raise ConfigError([problem]) from error
    return context


def _right(method: str, path: str, status: int) -> str:
    """Say what would have to be granted for a request to be let in."""
    if status == 401:
        return (
            "look at BRIDGE_REGISTRY__BASIC_AUTH, BRIDGE_REGISTRY__BEARER_TOKEN or "
            "BRIDGE_REGISTRY__CERT_FILE"
        )
    if path.startswith("config/"):
        needed = f"{'read' if method == 'GET' else 'write'} the compatibility level of subjects"
    elif method == "POST" and path.endswith("/versions"):
        needed = "write subjects (register schemas)"
    else:
        needed = "read subjects"
    return (
        f"grant this user the permission to {needed}; to register schemas as another user, run "
        "`mission-bridge schemas register` as that one and leave BRIDGE_REGISTRY__REGISTER=false"
    )


def _advice(refusal: _Refusal) -> str:
    """Return why a registry refuses, and what to do where that is not all of it."""
    if refusal.code == 42205:
        return (
            f"{refusal.message} (the registry or the subject is read-only: set its mode to "
            "READWRITE, or register the schemas in the registry that it follows)"
        )
    if refusal.status == 409:
        return (
            f"{refusal.message} (`mission-bridge schemas check` compares; another "
            "BRIDGE_KAFKA__TOPIC_PREFIX has subjects of its own)"
        )
    return refusal.message


def _named(error: Exception) -> str:
    text = f"{type(error).__name__} {error}".rstrip()
    if "CERTIFICATE_VERIFY_FAILED" in text:
        text += " (BRIDGE_REGISTRY__CA_FILE names the certificates to trust)"
    return text


async def _read(response: httpx.Response) -> bytes:
    """Read a body through the cap. Raises UnreadableBody."""
    body = BodyDecoder(response.headers.get("content-encoding", ""), _MAX_ANSWER)
    async for chunk in response.aiter_raw():
        body.take(chunk)
        if body.is_full:
            raise UnreadableBody(f"an answer of more than {_MAX_ANSWER} bytes")
    return body.content()


def _is_refusal(status: int, code: object) -> bool:
    """Tell the registry's own answer from that of a proxy or of another server.

    A 404 for a path that does not exist carries no code or just 404; it proves nothing about
    schemas, and taking it for an unknown one would throw away good records.
    """
    if status == 404:
        return isinstance(code, int) and 40400 <= code < 40500
    return status in {409, 422}


def _missing(answer: Any) -> bool:
    return isinstance(answer, _Refusal) and answer.status == 404


def _quoted(subject: str) -> str:
    return quote(subject, safe="")
