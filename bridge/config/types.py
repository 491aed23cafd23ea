"""The kinds of values that settings have, each with the check that makes it."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic.config import JsonDict
from pydantic.types import StringConstraints

from bridge.clock import Micros

VERBS = (
    "create_mission",
    "update_mission",
    "delete_mission",
    "clone_mission",
    "start_run",
    "update_run",
    "cancel_run",
    "pause_run",
    "resume_run",
    "log_event",
    "create_plan",
    "add_steps",
    "update_step",
    "link_agent",
    "unlink_agent",
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LISTENER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", re.ASCII)


class Branch(BaseModel):
    """A group of settings: unchangeable, nothing unknown, no infinite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


def setting(
    default: object,
    meaning: str,
    *,
    variable: str | None = None,
    default_words: str | None = None,
    type_words: str | None = None,
    **constraints: Any,
) -> Any:
    """Declare a setting: its default, what it means, and where documentation needs other words.

    `variable` is its name where that does not follow from its place; `constraints` are pydantic's.
    """
    words = {"variable": variable, "default": default_words, "type": type_words}
    extra: JsonDict = {key: value for key, value in words.items() if value is not None}
    return Field(default, description=meaning, json_schema_extra=extra, **constraints)


def parse_start(value: object) -> object:
    """Return `earliest`, `latest` or microseconds UTC; TOML hands in its own timestamps."""
    if value in ("earliest", "latest"):
        return value
    moment = value if isinstance(value, datetime) else None
    if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
        moment = datetime.fromisoformat(value.upper())
    if moment is None or moment.tzinfo is None:
        raise ValueError(
            "must be earliest, latest or a timestamp with its zone, like 2026-01-31T00:00:00Z"
        )
    return (moment - EPOCH) // timedelta(microseconds=1)


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def clean_key(text: str) -> str:
    """Return a key that may stand in a header; ValueError, without the key, says what is wrong."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be one word of printable ASCII characters")
    return text


def _key(value: SecretStr) -> SecretStr:
    return SecretStr(clean_key(value.get_secret_value()))


def _basic_auth(value: SecretStr) -> SecretStr:
    if ":" not in value.get_secret_value():
        raise ValueError("must be user:password")
    return value


def _url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be a URL that begins with http:// or https://")
    return parts


def _proxy(value: str) -> str:
    _url(value)
    return value


def _address(value: str) -> str:
    parts = _url(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password: it is shown in logs")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query or fragment")
    return value.rstrip("/")


def _api_address(value: str) -> str:
    if "v2" not in urlsplit(value).path.split("/"):
        raise ValueError("must contain /v2, as https://api.telnyx.com/v2 does")
    return value


def _listeners(value: str) -> str:
    listeners = [item.strip() for item in value.split(",")]
    for item in listeners:
        match = _LISTENER.fullmatch(item)
        if match is None or not 0 < int(match[2]) < 65536:
            raise ValueError("must be host:port, or several of them separated by commas")
    return ",".join(listeners)


def _items(value: object) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple, set, frozenset)):
        raise ValueError("must be a list, or words separated by commas")  # noqa: TRY004
    if not all(isinstance(part, str) for part in parts):
        raise ValueError("must be a list of texts")
    return [part.strip() for part in parts]


def _verbs(value: object) -> object:
    return frozenset(_known(_items(value)))


def _known(verbs: Iterable[str]) -> Iterable[str]:
    for verb in verbs:
        if verb not in VERBS:
            near = difflib.get_close_matches(verb, VERBS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
            raise ValueError(f"{verb!r} is no verb; {hint}")
        yield verb


def _missions(value: object) -> object:
    if value is None or value == "all":
        return None
    missions = [item.lower() for item in _items(value)]
    for mission in missions:
        if not _UUID.fullmatch(mission):
            raise ValueError(f"{mission!r} is no mission id (a UUID); or write all")
    return frozenset(missions)


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Start = Annotated[Literal["earliest", "latest"] | Micros, BeforeValidator(parse_start)]
"""Where to begin when there is no checkpoint: a timestamp is microseconds UTC."""

ApiKey = Annotated[SecretStr, AfterValidator(_key)]
BasicAuth = Annotated[SecretStr, AfterValidator(_basic_auth)]
ApiUrl = Annotated[str, AfterValidator(_address), AfterValidator(_api_address)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
RegistryUrl = Annotated[str, AfterValidator(_address)]
Listeners = Annotated[str, AfterValidator(_listeners)]
TopicPrefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
SourceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Verbs = Annotated[frozenset[str], BeforeValidator(_verbs)]
Missions = Annotated[frozenset[str] | None, BeforeValidator(_missions)]
SecurityProtocol = Annotated[
    Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], BeforeValidator(_upper)
]
SaslMechanism = Annotated[
    Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], BeforeValidator(_upper)
]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
