"""All settings, checked as a whole before anything starts.

The same tree comes from three places; what is further right wins:

    --config bridge.toml        BRIDGE_SECRETS_DIR           environment
    [kafka]                     a file of this name          BRIDGE_KAFKA__SASL_PASSWORD
    sasl_password_file = "..."  BRIDGE_KAFKA__SASL_PASSWORD  BRIDGE_KAFKA__SASL_PASSWORD_FILE

Tables are `[api]`, `[kafka]`, `[registry]`, `[source]`, `[commands]`, `[ops]`, `[log]`, keys are
the variables' names in lower case. Two variables have the names that the telnyx SDK gives them:
TELNYX_API_KEY is `api_key` and TELNYX_BASE_URL is `base_url` in `[api]`. Every secret can be read
from a file instead, by its name with `_FILE` (`_file` in TOML). Several accounts are several
tables `[[sources]]` in place of `[source]`, each with its `name` and its own `api_key` or
`api_key_file`; one of them may go without and uses the key of `[api]`, as the commands do.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bridge.config.models import (
    BRANCHES,
    ApiSettings,
    CommandSettings,
    KafkaSettings,
    LogSettings,
    OpsSettings,
    RegistrySettings,
    Settings,
    SourceSettings,
)
from bridge.config.sources import (
    Catalogue,
    Gathered,
    Setting,
    from_environment,
    from_secrets,
    from_toml,
    plain,
)
from bridge.config.types import is_loopback
from bridge.errors import ConfigError

__all__ = [
    "ApiSettings",
    "CommandSettings",
    "KafkaSettings",
    "LogSettings",
    "Need",
    "OpsSettings",
    "RegistrySettings",
    "Setting",
    "Settings",
    "SourceSettings",
    "describe_settings",
    "load_settings",
]

Need = Literal["api", "kafka", "registry"]
"""A branch whose required settings a command cannot do without."""

EVERYTHING: frozenset[Need] = frozenset({"api", "kafka", "registry"})

_CATALOGUE = Catalogue("BRIDGE_", Settings, BRANCHES)


def describe_settings() -> tuple[Setting, ...]:
    """List every setting with its variable, default, meaning and type."""
    return _CATALOGUE.settings


def load_settings(
    config_file: Path | None,
    needs: frozenset[Need] = EVERYTHING,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read all settings; ConfigError lists every problem.

    What is required in branches outside `needs` may be missing, and is then empty.
    """
    found = Gathered(_CATALOGUE)
    if config_file is not None:
        found.lay_over(from_toml(_CATALOGUE, config_file))
    variables = from_environment(_CATALOGUE, environ)
    folder = (found.values | variables.values).get(("secrets_dir",))
    if folder is not None:
        found.lay_over(from_secrets(_CATALOGUE, Path(str(folder.value))))
    found.lay_over(variables)
    found.unite_sources()
    found.read_secret_files()
    settings = _validate(found)
    found.problems += _missing(found, settings, needs)
    found.problems += [
        words for paths, words in _contradictions(settings) if found.wrong.isdisjoint(paths)
    ]
    if sys.flags.optimize:
        found.problems.append(
            "PYTHONOPTIMIZE: must not be set (nor python -O used): the Kafka client's guards are "
            "assertions, which it removes"
        )
    if found.problems:
        raise ConfigError(list(dict.fromkeys(found.problems)))
    return settings


def _validate(found: Gathered) -> Settings:
    """Return settings in which each mistaken value gave way to its default.

    So that what else is wrong shows in the same run; the mistakes are kept in `found`.
    """
    while True:
        try:
            return Settings.model_validate(found.tree())
        except ValidationError as error:
            found.refuse(error.errors(include_url=False, include_context=False))


def _missing(found: Gathered, settings: Settings, needs: frozenset[Need]) -> Iterator[str]:
    given = found.wrong | {plain(leaf) for leaf in found.values}
    for setting in _CATALOGUE.settings:
        if not setting.required or setting.path[0] not in needs:
            continue
        if given.isdisjoint({setting.path, setting.file_twin}) and (
            setting.path[0] != "api" or settings.uses_common_key
        ):
            yield f"{setting.variable}: is missing; {setting.meaning}"


Clash = tuple[set[tuple[str, ...]], str]
"""Settings that do not fit together, and why; not told when one of them is mistaken anyway."""


def _clash(words: str, *settings: str) -> Clash:
    return {tuple(name.split(".")) for name in settings}, words


def _contradictions(settings: Settings) -> Iterator[Clash]:
    yield from _budgets(settings)
    yield from _transport(settings)
    yield from _registry_tls(settings.registry)
    yield from _kafka_security(settings.kafka)
    yield from _accounts(settings)


def _budgets(settings: Settings) -> Iterator[Clash]:
    """Times nest: what waits for something waits longer than it can take."""
    timeout = settings.api.timeout
    if timeout >= settings.kafka.transaction_timeout:
        yield _clash(
            f"BRIDGE_KAFKA__TRANSACTION_TIMEOUT: must be more than BRIDGE_API__TIMEOUT "
            f"({timeout:g}): a transaction outlives a request",
            "api.timeout",
            "kafka.transaction_timeout",
        )
    if timeout >= settings.commands.settle:
        yield _clash(
            f"BRIDGE_COMMANDS__SETTLE: must be more than BRIDGE_API__TIMEOUT ({timeout:g}): "
            "a request is not over before it timed out",
            "api.timeout",
            "commands.settle",
        )
    for source in settings.sources:
        if source.lateness > source.lateness_max:
            yield _clash(
                f"BRIDGE_SOURCE__LATENESS: must not be more than BRIDGE_SOURCE__LATENESS_MAX "
                f"({source.lateness_max:g}), in source {source.name}",
                "source.lateness",
                "source.lateness_max",
            )


def _transport(settings: Settings) -> Iterator[Clash]:
    """Keys do not travel readable, and there is one way to log in."""
    api, registry = settings.api, settings.registry
    if api.base_url.startswith("http:") and not (api.allow_http or is_loopback(api.base_url)):
        yield _clash(
            "TELNYX_BASE_URL: plain http shows the key to the network; use https, or say "
            "BRIDGE_API__ALLOW_HTTP=true",
            "api.base_url",
            "api.allow_http",
        )
    if registry.basic_auth and registry.bearer_token:
        yield _clash(
            "BRIDGE_REGISTRY__BEARER_TOKEN: cannot be used beside BRIDGE_REGISTRY__BASIC_AUTH",
            "registry.basic_auth",
            "registry.bearer_token",
        )


def _registry_tls(registry: RegistrySettings) -> Iterator[Clash]:
    for name in ("ca_file", "cert_file", "key_file"):
        if getattr(registry, name) is not None and registry.url.startswith("http:"):
            yield _clash(
                f"BRIDGE_REGISTRY__{name.upper()}: has no use with plain http",
                "registry.url",
                f"registry.{name}",
            )
    if registry.key_file is not None and registry.cert_file is None:
        yield _clash(
            "BRIDGE_REGISTRY__KEY_FILE: needs BRIDGE_REGISTRY__CERT_FILE",
            "registry.cert_file",
            "registry.key_file",
        )


def _kafka_security(kafka: KafkaSettings) -> Iterator[Clash]:
    """Take as a mistake what is half given, or given and would not be used."""
    protocol = kafka.security_protocol
    for name in ("sasl_mechanism", "sasl_username", "sasl_password"):
        given = getattr(kafka, name) is not None
        if given != protocol.startswith("SASL"):
            yield _clash(
                f"BRIDGE_KAFKA__{name.upper()}: {'has no use' if given else 'is missing'} with "
                f"BRIDGE_KAFKA__SECURITY_PROTOCOL {protocol}",
                "kafka.security_protocol",
                f"kafka.{name}",
            )
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password"):
        given = getattr(kafka, name) is not None
        if given and not protocol.endswith("SSL"):
            yield _clash(
                f"BRIDGE_KAFKA__{name.upper()}: has no use with "
                f"BRIDGE_KAFKA__SECURITY_PROTOCOL {protocol}",
                "kafka.security_protocol",
                f"kafka.{name}",
            )
        elif given and name.startswith("ssl_key") and kafka.ssl_certfile is None:
            yield _clash(
                f"BRIDGE_KAFKA__{name.upper()}: needs BRIDGE_KAFKA__SSL_CERTFILE",
                "kafka.ssl_certfile",
                f"kafka.{name}",
            )


def _accounts(settings: Settings) -> Iterator[Clash]:
    """Names and accounts of sources differ, or events would be published under both."""
    names = Counter(source.name for source in settings.sources)
    for name, count in names.items():
        if count > 1:
            yield _clash(f"BRIDGE_SOURCE__NAME: {count} sources are named {name}", "source.name")
    keys: dict[str, list[str]] = {}
    for source in settings.sources:
        key = source.api_key or settings.api.api_key
        keys.setdefault(key.get_secret_value(), []).append(source.name)
    for sharing in keys.values():
        if len(sharing) > 1:
            yield _clash(
                f"BRIDGE_SOURCE__API_KEY: sources {', '.join(sharing)} have the same key; one may "
                "go without and use TELNYX_API_KEY, each other needs its own",
                "source.name",
                "source.api_key",
                "api.api_key",
            )
