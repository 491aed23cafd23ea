"""Settings: where they come from, their defaults, and every mistake told at once by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from config_given import CANARY, NEEDED, load, problems

from bridge.commands.model import Verb
from bridge.config.load import describe_settings, load_settings
from bridge.config.types import VERBS
from bridge.errors import EXIT_CONFIG, ConfigError


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    """Write bridge.toml and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "bridge.toml"
        path.write_text(text)
        return path

    return write


def test_three_settings_are_enough_and_the_others_have_the_documented_defaults() -> None:
    settings = load()
    assert settings.read_api_key() == CANARY
    assert settings.api.base_url == "https://api.telnyx.com/v2"
    assert (settings.api.timeout, settings.api.rate, settings.api.proxy) == (30, 10, None)
    kafka = settings.kafka
    assert (kafka.topic_prefix, kafka.replication_factor) == ("missions", -1)
    assert (kafka.session_timeout, kafka.transaction_timeout) == (10, 60)
    assert settings.registry.register_schemas is False
    assert settings.delivery == "exactly_once"
    (source,) = settings.sources
    assert (source.name, source.start, source.poll_interval) == ("default", "earliest", 2)
    assert (source.page_size, source.lateness, source.lateness_max) == (1000, 900, 7200)
    assert source.audit_interval == 600
    commands = settings.commands
    assert (commands.enabled, commands.start, commands.missions) == (True, "earliest", None)
    assert commands.allow == frozenset(VERBS) - {"delete_mission"}
    assert (commands.max_starts_per_minute, commands.on_doubt) == (60, "strict")
    assert (commands.settle, commands.concurrency, commands.partitioner) == (35, 32, "murmur2")
    assert (settings.ops.host, settings.ops.port) == ("127.0.0.1", 9464)
    assert (settings.log.level, settings.log.format) == ("info", "auto")


def test_every_mistake_is_told_at_once_under_its_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(
            None,
            environ={
                "BRIDGE_KAFKA__REPLICATION_FACTOR": "three",
                "BRIDGE_API__TIMEOUT": "90",
                "BRIDGE_SOURCE__PAGE_SIZE": "7",
                "BRIDGE_COMMANDS__ALLOW": "start_run,delete_everything",
                "BRIDGE_LOG__FORMAT": "xml",
                "BRIDGE_TOPIC": "x",
            },
        )
    assert caught.value.exit_code == EXIT_CONFIG
    told = {problem.split(":")[0] for problem in caught.value.problems}
    assert told == {
        "TELNYX_API_KEY",
        "BRIDGE_KAFKA__BOOTSTRAP_SERVERS",
        "BRIDGE_REGISTRY__URL",
        "BRIDGE_KAFKA__REPLICATION_FACTOR",
        "BRIDGE_KAFKA__TRANSACTION_TIMEOUT",  # less than the request's time, found all the same
        "BRIDGE_COMMANDS__SETTLE",
        "BRIDGE_SOURCE__PAGE_SIZE",
        "BRIDGE_COMMANDS__ALLOW",
        "BRIDGE_LOG__FORMAT",
        "BRIDGE_TOPIC",
    }


def test_a_mistyped_table_in_toml_is_told_the_one_that_was_meant(toml: Any) -> None:
    path = toml("[kafak]\ntopic_prefix = 'staging'\n")
    assert problems(path) == (f"kafak in {path}: there is no such setting; did you mean kafka?",)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BRIDGE_DELIVERYY", "BRIDGE_DELIVERY"),
        ("BRIDGE_KAFKA_BOOTSTRAP_SERVERS", "BRIDGE_KAFKA__BOOTSTRAP_SERVERS"),
        ("BRIDGE_SOURCE__PAGESIZE", "BRIDGE_SOURCE__PAGE_SIZE"),
        ("bridge_api__rate", "BRIDGE_API__RATE"),
        ("BRIDGE_API__API_KEY", "TELNYX_API_KEY"),
    ],
)
def test_a_mistyped_variable_is_refused_and_the_nearest_one_named(name: str, meant: str) -> None:
    (problem,) = problems(**{name: "1"})
    assert problem == f"{name}: there is no such setting; did you mean {meant}?"


def test_other_programs_variables_and_those_of_the_tests_are_none_of_our_business() -> None:
    load(BRIDGETOWN="1", TELNYX_PUBLIC_KEY="1", BRIDGE_TEST_KAFKA="127.0.0.1:9092")


@pytest.mark.parametrize("name", ["TELNYX_API_KEY", "BRIDGE_COMMANDS__MISSIONS"])
def test_an_empty_variable_is_a_mistake_and_not_the_default(name: str) -> None:
    assert problems(**{name: " "}) == (f"{name}: is empty; give it a value or remove it",)


def test_the_same_tree_can_be_given_in_toml(toml: Any) -> None:
    settings = load(
        toml(
            """
            delivery = "at_least_once"
            [api]
            base_url = "http://127.0.0.1:8080/v2/"
            rate = 2.5
            [registry]
            register = true
            [source]
            start = 2026-01-31T01:00:00+01:00
            [commands]
            allow = ["start_run", "pause_run"]
            missions = ["0B9F5F3C-6E4A-4B0E-9C57-B7D4A7B0F001"]
            [kafka]
            topic_prefix = "staging"
            """
        )
    )
    assert settings.delivery == "at_least_once"
    assert (settings.api.base_url, settings.api.rate) == ("http://127.0.0.1:8080/v2", 2.5)
    assert settings.registry.register_schemas is True
    assert settings.sources[0].start == 1_769_817_600_000_000
    assert settings.commands.allow == {"start_run", "pause_run"}
    assert settings.commands.missions == frozenset({"0b9f5f3c-6e4a-4b0e-9c57-b7d4a7b0f001"})
    assert settings.kafka.topic_prefix == "staging"


def test_a_mistake_in_toml_is_told_with_its_place_and_with_the_variable(toml: Any) -> None:
    path = toml("[api]\nrate = 0\nrats = 1\n[kafka.sasl]\nx = 1\n")
    assert problems(path) == (
        f"api.rats in {path}: there is no such setting; did you mean api.rate?",
        f"kafka.sasl in {path}: there is no such setting",
        f"BRIDGE_API__RATE (api.rate in {path}): must be greater than 0",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("api = 1", "must be a table"),
        ("[sources]\nname = 'a'", "must be tables: [[sources]]"),
        ("[api", "is not TOML"),
    ],
)
def test_a_file_of_another_shape_is_refused(toml: Any, text: str, said: str) -> None:
    (problem,) = problems(toml(text))
    assert said in problem


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "none.toml")
    assert problem == f"--config: cannot read {tmp_path}/none.toml: No such file or directory"


def test_the_environment_wins_over_the_secrets_folder_and_that_over_toml(
    toml: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "BRIDGE_KAFKA__TOPIC_PREFIX").write_text("folder\n")
    (folder / "bridge_api__rate").write_text("3\n")
    path = toml("[kafka]\ntopic_prefix = 'file'\n[api]\nrate = 4\ntimeout = 5\n")
    settings = load(path, BRIDGE_SECRETS_DIR=str(folder), BRIDGE_KAFKA__TOPIC_PREFIX="variable")
    assert settings.kafka.topic_prefix == "variable"
    assert (settings.api.rate, settings.api.timeout) == (3, 5)


def test_secrets_can_be_read_from_files_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("user:pass\n")
    settings = load(
        BRIDGE_KAFKA__SECURITY_PROTOCOL="sasl_plaintext",
        BRIDGE_KAFKA__SASL_MECHANISM="scram-sha-512",
        BRIDGE_KAFKA__SASL_USERNAME="bridge",
        BRIDGE_KAFKA__SASL_PASSWORD_FILE=str(file),
        BRIDGE_REGISTRY__BASIC_AUTH_FILE=str(file),
    )
    assert settings.kafka.sasl_password is not None
    assert settings.kafka.sasl_password.get_secret_value() == "user:pass"
    assert settings.registry.basic_auth is not None
    assert settings.registry.basic_auth.get_secret_value() == "user:pass"
    assert "pass" not in repr(settings).replace("password", "")


def test_a_folder_of_secrets_may_be_shared_but_not_mistyped(tmp_path: Path) -> None:
    for name in ("..data", "POSTGRES_PASSWORD"):
        (tmp_path / name).write_text("x")
    load(BRIDGE_SECRETS_DIR=str(tmp_path))
    (tmp_path / "BRIDGE_KAFKA__SASL_PASWORD").write_text("x")
    (problem,) = problems(BRIDGE_SECRETS_DIR=str(tmp_path))
    assert problem.endswith("did you mean BRIDGE_KAFKA__SASL_PASSWORD?")


def test_a_secret_and_its_file_are_not_given_together(tmp_path: Path) -> None:
    assert problems(TELNYX_API_KEY_FILE=str(tmp_path / "key")) == (
        "TELNYX_API_KEY: TELNYX_API_KEY_FILE is set as well; keep one",
        f"TELNYX_API_KEY_FILE: cannot read {tmp_path}/key: No such file or directory",
    )


@pytest.mark.parametrize("how", ["variable", "folder", "toml"])
def test_a_key_in_a_file_is_read_anew_and_kept_while_the_file_is_away(
    how: str, tmp_path: Path, toml: Any
) -> None:
    file = tmp_path / "TELNYX_API_KEY"
    file.write_text("first\n")
    path = toml(f"[api]\napi_key_file = '{file}'" if how == "toml" else "")
    given = {"variable": "TELNYX_API_KEY_FILE", "folder": "BRIDGE_SECRETS_DIR"}.get(how)
    environ = {name: value for name, value in NEEDED.items() if name != "TELNYX_API_KEY"}
    if given:
        environ[given] = str(file if how == "variable" else tmp_path)
    settings = load_settings(path, environ=environ)
    assert settings.read_api_key() == "first"
    file.write_text("second\n")
    assert settings.read_api_key() == "second"
    file.write_text("\n")
    assert settings.read_api_key() == "first"
    file.unlink()
    assert settings.read_api_key() == "first"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TELNYX_API_KEY", f"{CANARY} with a space"),
        ("BRIDGE_REGISTRY__BASIC_AUTH", CANARY),
        ("BRIDGE_REGISTRY__BEARER_TOKEN", f"{CANARY} x"),
        ("TELNYX_BASE_URL", f"https://user:{CANARY}@api.telnyx.com/v2"),
        ("BRIDGE_REGISTRY__URL", f"https://user:{CANARY}@registry"),
        ("BRIDGE_API__PROXY", f"socks5://user:{CANARY}@proxy"),
        ("BRIDGE_KAFKA__SASL_PASSWORD", CANARY),
    ],
)
def test_a_refused_secret_is_not_shown(variable: str, value: str) -> None:
    (problem,) = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")


def test_an_unreadable_mixture_of_mistakes_shows_no_secret(toml: Any) -> None:
    path = toml(f"[api]\napi_key = ['{CANARY}']\n[registry]\nbearer_token = 5\nbasic_auth = 'u:p'")
    assert len(problems(path, TELNYX_API_KEY_FILE="/nowhere")) == 3


def test_several_accounts_have_a_name_and_a_key_each(toml: Any, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("second")
    path = toml(
        f"""
        [[sources]]
        name = "main"
        [[sources]]
        name = "eu"
        api_key_file = "{file}"
        page_size = 100
        """
    )
    settings = load(path)
    assert [source.name for source in settings.sources] == ["main", "eu"]
    assert settings.sources[1].page_size == 100
    keys = [settings.read_api_key(name) for name in (None, "main", "eu")]
    assert keys == [CANARY, CANARY, "second"]
    file.write_text("third")
    assert settings.read_api_key("eu") == "third"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name='a'\n[[sources]]\nname='a'\napi_key='k'", "2 sources are named a"),
        ("name='a'\n[[sources]]\nname='b'", "sources a, b have the same key"),
        ("name='a'\napi_key='k'\n[[sources]]\nname='b'\napi_key='k'", "sources a, b have the same"),
        ("name='a'\n[[sources]]\napi_key='k'", "sources[2] in"),
        ("name='a'\n[[sources]]\nname='b'\napi_key='k'\npage_size=1", "sources[2].page_size in"),
        ("name='a'\n[source]\npage_size=100", "cannot be set beside the tables [[sources]]"),
    ],
)
def test_accounts_that_cannot_be_told_apart_are_refused(toml: Any, text: str, said: str) -> None:
    (problem,) = problems(toml(f"[[sources]]\n{text}"))
    assert said in problem


def test_a_tool_needs_only_what_it_uses() -> None:
    settings = load_settings(None, frozenset({"registry"}), {"BRIDGE_REGISTRY__URL": "http://r"})
    assert settings.kafka.bootstrap_servers == ""
    with pytest.raises(ConfigError, match="BRIDGE_KAFKA__BOOTSTRAP_SERVERS: is missing"):
        load_settings(None, frozenset({"kafka"}), {})


def test_the_common_key_is_needed_only_if_something_uses_it(toml: Any) -> None:
    path = toml("[source]\napi_key = 'own'\n[commands]\nenabled = false")
    environ = {name: value for name, value in NEEDED.items() if name != "TELNYX_API_KEY"}
    assert load_settings(path, environ=environ).read_api_key("default") == "own"
    with pytest.raises(ConfigError, match="TELNYX_API_KEY: is missing"):
        load_settings(path, environ={**environ, "BRIDGE_COMMANDS__ENABLED": "true"})


def test_the_same_topics_give_the_same_groups_and_transactional_ids() -> None:
    settings = load(BRIDGE_KAFKA__TOPIC_PREFIX="p")
    assert settings.topic("events.dlq") == "p.events.dlq"
    assert settings.source_group == "mission-bridge.p.source"
    assert settings.commands_group == "mission-bridge.p.commands"
    assert settings.transactional_id_source("eu") == "mission-bridge.p.source.eu"
    assert settings.transactional_id_commands(3) == "mission-bridge.p.commands.3"


def test_python_without_assertions_is_refused() -> None:
    program = "from bridge.config.load import load_settings; load_settings(None, frozenset(), {})"
    ended = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, check=False
    )
    assert "ConfigError: PYTHONOPTIMIZE: must not be set" in ended.stderr


def test_every_setting_has_a_meaning_a_type_and_a_default_in_words() -> None:
    settings = describe_settings()
    assert len({setting.variable for setting in settings}) == len(settings)
    for setting in settings:
        assert setting.meaning.endswith("."), setting
        assert setting.type, setting
        assert setting.default, setting
    named = {setting.variable: setting for setting in settings}
    assert named["TELNYX_API_KEY"].default == "required"
    assert named["TELNYX_API_KEY"].secret
    assert named["BRIDGE_REGISTRY__REGISTER"].default == "false"
    assert named["BRIDGE_COMMANDS__ALLOW"].default == "all but `delete_mission`"
    assert named["BRIDGE_SOURCE__START"].type == "earliest, latest or a timestamp"
    assert named["BRIDGE_KAFKA__SSL_CAFILE"].type == "file"


def test_the_verbs_that_can_be_allowed_are_those_of_commands() -> None:
    assert list(VERBS) == [verb.value for verb in Verb]
