"""The tree of settings: what exists, what it means, its default and bounds.

Every field's description is what documentation says about it. Checks that look at more than one
setting are in config.py, so that all mistakes can be told at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import FilePath, SecretStr

from bridge.config import types as kinds
from bridge.config.sources import REQUIRED, read_text
from bridge.config.types import Branch, setting


class ApiSettings(Branch):
    """The Missions API."""

    api_key: kinds.ApiKey = setting(
        SecretStr(""),
        "Key of the Telnyx account.",
        variable="TELNYX_API_KEY",
        default_words=REQUIRED,
    )
    api_key_file: Path | None = setting(
        None,
        "File that holds the API key; read again for each use, so a new key needs no restart.",
        variable="TELNYX_API_KEY_FILE",
    )
    base_url: kinds.ApiUrl = setting(
        "https://api.telnyx.com/v2",
        "Address of the API; contains /v2. Plain http only to this machine or with ALLOW_HTTP.",
        variable="TELNYX_BASE_URL",
    )
    timeout: float = setting(30.0, "Seconds that one request may take in all.", gt=0, le=300)
    rate: float = setting(10.0, "Requests a second, shared by all callers.", gt=0, le=1000)
    proxy: kinds.ProxyUrl | None = setting(None, "URL of an HTTP proxy.", repr=False)
    ca_file: FilePath | None = setting(
        None, "Certificates to trust in place of the usual ones (PEM)."
    )
    allow_http: bool = setting(
        default=False, meaning="Allow plain http to another machine: the key is readable."
    )


class KafkaSettings(Branch):
    """The Kafka cluster."""

    bootstrap_servers: kinds.Listeners = setting(
        "", "Brokers to begin with: host:port, several with commas.", default_words=REQUIRED
    )
    security_protocol: kinds.SecurityProtocol = setting("PLAINTEXT", "How to talk to the brokers.")
    sasl_mechanism: kinds.SaslMechanism | None = setting(None, "How to log in.")
    sasl_username: str | None = setting(None, "Name to log in with.")
    sasl_password: SecretStr | None = setting(None, "Password to log in with.")
    sasl_password_file: Path | None = setting(None, "File that holds the password.")
    ssl_cafile: FilePath | None = setting(None, "Certificates to trust (PEM).")
    ssl_certfile: FilePath | None = setting(None, "Our own certificate (PEM).")
    ssl_keyfile: FilePath | None = setting(None, "Key of our own certificate (PEM).")
    ssl_key_password: SecretStr | None = setting(None, "Password of that key.")
    ssl_key_password_file: Path | None = setting(None, "File that holds the key's password.")
    topic_prefix: kinds.TopicPrefix = setting(
        "missions", "First part of all topics, groups and transactional ids."
    )
    replication_factor: int = setting(
        -1, "Copies of each topic that `topics apply` creates; -1: the brokers' default.", ge=-1
    )
    compression: Literal["none", "gzip", "lz4", "snappy", "zstd"] = setting(
        "gzip",
        "How records are packed. Every client reads gzip; for others, some need a further package.",
    )
    session_timeout: float = setting(
        10.0,
        "Seconds after which a silent process loses its sources and partitions to another.",
        ge=6,  # what brokers allow unless told otherwise: group.min/max.session.timeout.ms
        le=1800,
    )
    transaction_timeout: float = setting(
        60.0,
        "Seconds after which the brokers abort a transaction left open.",
        gt=0,
        le=900,  # transaction.max.timeout.ms
    )


class RegistrySettings(Branch):
    """The schema registry."""

    url: kinds.RegistryUrl = setting(
        "", "Address of the schema registry (Confluent's REST API).", default_words=REQUIRED
    )
    basic_auth: kinds.BasicAuth | None = setting(None, "user:password.")
    basic_auth_file: Path | None = setting(None, "File that holds user:password.")
    bearer_token: kinds.ApiKey | None = setting(None, "Token to send instead.")
    bearer_token_file: Path | None = setting(None, "File that holds the token.")
    ca_file: FilePath | None = setting(
        None, "Certificates to trust in place of the usual ones (PEM)."
    )
    cert_file: FilePath | None = setting(None, "Our own certificate (PEM), with its key or not.")
    key_file: FilePath | None = setting(None, "Key of our own certificate (PEM).")
    register_schemas: bool = setting(
        default=False, meaning="Let `run` register its schemas itself.", alias="register"
    )


class SourceSettings(Branch):
    """One account whose events are read."""

    name: kinds.SourceName = setting("default", "Name in checkpoints, metrics and logs.")
    start: kinds.Start = setting(
        "earliest",
        "Where to begin when nothing was read yet.",
        type_words="earliest, latest or a timestamp",
    )
    poll_interval: float = setting(2.0, "Seconds between two polls.", gt=0, le=3600)
    page_size: int = setting(1000, "Events asked for at once.", ge=50, le=1000)
    lateness: float = setting(
        900.0, "Seconds by which an event may appear after its timestamp.", gt=0
    )
    lateness_max: float = setting(
        7200.0, "Seconds up to which the lateness may be raised by what is measured.", gt=0
    )
    audit_interval: float = setting(600.0, "Seconds between audits of live runs.", gt=0)
    api_key: kinds.ApiKey | None = setting(
        None, "Key of this account.", default_words="`TELNYX_API_KEY`"
    )
    api_key_file: Path | None = setting(None, "File that holds the key of this account.")


class CommandSettings(Branch):
    """Commands from Kafka to the API."""

    enabled: bool = setting(default=True, meaning="Whether commands are carried out.")
    start: kinds.Start = setting(
        "earliest",
        "Where to begin when nothing was carried out yet.",
        type_words="earliest, latest or a timestamp",
    )
    allow: kinds.Verbs = setting(
        frozenset(kinds.VERBS) - {"delete_mission"},
        "Verbs that are carried out; others are answered UNAUTHORIZED.",
        default_words="all but `delete_mission`",
        type_words="verbs separated by commas",
    )
    missions: kinds.Missions = setting(
        None,
        "Missions that commands may touch; others are answered UNAUTHORIZED.",
        default_words="all",
        type_words="mission ids separated by commas, or all",
    )
    max_starts_per_minute: int = setting(
        60, "Runs started in any minute at most: a run places calls and costs money.", ge=1
    )
    on_doubt: Literal["strict", "resolve"] = setting(
        "strict",
        "What becomes of a request without a clear answer whose effect is not found: `strict` says"
        " IN_DOUBT, `resolve` makes it again, which does it twice if the first comes very late.",
    )
    settle: float = setting(
        35.0,
        "Seconds between two looks that prove that a request had an effect or none, or why it was"
        " refused: it is over by then, and no copy that is read lags further behind.",
        gt=0,
    )
    concurrency: int = setting(32, "Commands carried out at the same time.", ge=1, le=1000)
    partitioner: Literal["murmur2", "crc32", "any"] = setting(
        "murmur2", "How producers of commands find the partition of a key."
    )


class OpsSettings(Branch):
    """Health, metrics and status."""

    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(9464, "Port to listen on; 0 picks a free one.", ge=0, le=65535)


class LogSettings(Branch):
    """Logs, always on stderr."""

    level: kinds.LogLevel = setting("info", "Least level that is logged.")
    format: Literal["auto", "json", "console"] = setting("auto", "auto: console on a terminal.")


class Settings(Branch):
    """All settings, and the names that follow from them.

    Two processes with the same topics have the same groups and transactional ids, so they can
    fence each other but never write side by side.
    """

    delivery: Literal["exactly_once", "at_least_once"] = setting(
        "exactly_once", "at_least_once is for services without transactions."
    )
    secrets_dir: Path | None = setting(
        None, "Folder with a file for each secret.", type_words="folder"
    )
    api: ApiSettings = ApiSettings()
    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    sources: tuple[SourceSettings, ...] = (SourceSettings(),)
    commands: CommandSettings = CommandSettings()
    ops: OpsSettings = OpsSettings()
    log: LogSettings = LogSettings()

    def topic(self, short: str) -> str:
        """Return a topic's name: "events" is missions.events."""
        return f"{self.kafka.topic_prefix}.{short}"

    @property
    def source_group(self) -> str:
        """Group whose members share the sources."""
        return f"mission-bridge.{self.kafka.topic_prefix}.source"

    @property
    def commands_group(self) -> str:
        """Group whose members share the partitions of commands."""
        return f"mission-bridge.{self.kafka.topic_prefix}.commands"

    def transactional_id_source(self, name: str) -> str:
        """Id that only the owner of a source writes with."""
        return f"{self.source_group}.{name}"

    def transactional_id_commands(self, partition: int) -> str:
        """Id that only the owner of a partition of commands writes with."""
        return f"{self.commands_group}.{partition}"

    @property
    def drain_seconds(self) -> float:
        """Seconds for calls in flight to be answered, and their outcomes written, after SIGTERM."""
        return self.api.timeout + 10.0

    def read_api_key(self, source: str | None = None) -> str:
        """Return the key as it is now, of a source or (None) of the commands.

        A key that came from a file is read again. While the file cannot be read, or holds no
        key, the key it held at the start goes on being used: the API is the judge of keys.
        """
        own = next((s for s in self.sources if s.name == source and s.api_key), None)
        key, file = (own.api_key, own.api_key_file) if own else (None, self.api.api_key_file)
        if file is not None:
            try:
                return kinds.clean_key(read_text(file))
            except ValueError:
                pass
        return (key or self.api.api_key).get_secret_value()

    @property
    def uses_common_key(self) -> bool:
        """Whether anything uses the key of `api`: commands, or a source without its own."""
        return self.commands.enabled or any(s.api_key is None for s in self.sources)


BRANCHES: dict[str, type[Branch]] = {
    "api": ApiSettings,
    "kafka": KafkaSettings,
    "registry": RegistrySettings,
    "source": SourceSettings,
    "commands": CommandSettings,
    "ops": OpsSettings,
    "log": LogSettings,
}
"""The tables of the tree; `source` may be several."""
