"""Values of settings: words, bounds, and what contradicts what."""

from __future__ import annotations

import pytest
from config_given import load, problems


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("latest", "latest"),
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01t00:00:00.000001z", 1),
        ("1970-01-01 02:00:00+02:00", 0),
    ],
)
def test_a_start_is_a_word_or_a_moment(text: str, start: object) -> None:
    settings = load(BRIDGE_SOURCE__START=text, BRIDGE_COMMANDS__START=text)
    assert settings.sources[0].start == settings.commands.start == start


@pytest.mark.parametrize(
    "text", ["now", "2026-01-31", "2026-01-31T00:00:00", "2026-13-01T00:00:00Z", "17000000"]
)
def test_a_start_without_its_zone_or_in_other_words_is_refused(text: str) -> None:
    (problem,) = problems(BRIDGE_SOURCE__START=text)
    assert problem.startswith("BRIDGE_SOURCE__START: ")


@pytest.mark.parametrize(
    "url", ["http://localhost:1/v2", "http://127.0.0.9/v2", "http://[::1]/v2", "https://x/eu/v2/"]
)
def test_plain_http_is_for_this_machine(url: str) -> None:
    assert load(TELNYX_BASE_URL=url).api.base_url == url.rstrip("/")


def test_plain_http_elsewhere_must_be_asked_for() -> None:
    (problem,) = problems(TELNYX_BASE_URL="http://10.0.0.1/v2")
    assert "BRIDGE_API__ALLOW_HTTP=true" in problem
    load(TELNYX_BASE_URL="http://10.0.0.1/v2", BRIDGE_API__ALLOW_HTTP="true")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TELNYX_BASE_URL", "https://api.telnyx.com"),
        ("TELNYX_BASE_URL", "https://api.telnyx.com/v2?x=1"),
        ("TELNYX_BASE_URL", "api.telnyx.com/v2"),
        ("BRIDGE_API__RATE", "nan"),
        ("BRIDGE_API__TIMEOUT", "inf"),
        ("BRIDGE_KAFKA__BOOTSTRAP_SERVERS", "kafka"),
        ("BRIDGE_KAFKA__BOOTSTRAP_SERVERS", "kafka:9092,kafka:99999"),
        ("BRIDGE_KAFKA__TOPIC_PREFIX", "a/b"),
        ("BRIDGE_KAFKA__SESSION_TIMEOUT", "1"),
        ("BRIDGE_KAFKA__SECURITY_PROTOCOL", "TLS"),
        ("BRIDGE_KAFKA__SSL_CAFILE", "/nowhere/ca.pem"),
        ("BRIDGE_SOURCE__PAGE_SIZE", "49"),
        ("BRIDGE_SOURCE__PAGE_SIZE", "1001"),
        ("BRIDGE_SOURCE__NAME", "a b"),
        ("BRIDGE_SOURCE__LATENESS", "0"),
        ("BRIDGE_COMMANDS__MISSIONS", "all,x"),
        ("BRIDGE_COMMANDS__ON_DOUBT", "lenient"),
        ("BRIDGE_COMMANDS__PARTITIONER", "md5"),
        ("BRIDGE_OPS__PORT", "70000"),
        ("BRIDGE_DELIVERY", "twice"),
    ],
)
def test_a_value_outside_its_bounds_is_refused(variable: str, value: str) -> None:
    (problem,) = problems(**{variable: value})
    assert problem.startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("environ", "blamed"),
    [
        ({"BRIDGE_KAFKA__TRANSACTION_TIMEOUT": "30"}, "BRIDGE_KAFKA__TRANSACTION_TIMEOUT"),
        ({"BRIDGE_COMMANDS__SETTLE": "30"}, "BRIDGE_COMMANDS__SETTLE"),
        ({"BRIDGE_SOURCE__LATENESS": "7201"}, "BRIDGE_SOURCE__LATENESS"),
        ({"BRIDGE_KAFKA__SASL_USERNAME": "u"}, "BRIDGE_KAFKA__SASL_USERNAME"),
        ({"BRIDGE_KAFKA__SSL_CAFILE": __file__}, "BRIDGE_KAFKA__SSL_CAFILE"),
        (
            {"BRIDGE_KAFKA__SECURITY_PROTOCOL": "SSL", "BRIDGE_KAFKA__SSL_KEYFILE": __file__},
            "BRIDGE_KAFKA__SSL_KEYFILE",
        ),
        (
            {"BRIDGE_REGISTRY__BASIC_AUTH": "u:p", "BRIDGE_REGISTRY__BEARER_TOKEN": "t"},
            "BRIDGE_REGISTRY__BEARER_TOKEN",
        ),
        ({"BRIDGE_REGISTRY__CA_FILE": __file__}, "BRIDGE_REGISTRY__CA_FILE"),
        (
            {"BRIDGE_REGISTRY__URL": "https://registry", "BRIDGE_REGISTRY__KEY_FILE": __file__},
            "BRIDGE_REGISTRY__KEY_FILE",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    environ: dict[str, str], blamed: str
) -> None:
    (problem,) = problems(**environ)
    assert problem.startswith(f"{blamed}: ")


def test_logging_in_to_kafka_needs_all_three_parts() -> None:
    told = problems(BRIDGE_KAFKA__SECURITY_PROTOCOL="SASL_SSL")
    assert [problem.split(":")[0] for problem in told] == [
        "BRIDGE_KAFKA__SASL_MECHANISM",
        "BRIDGE_KAFKA__SASL_USERNAME",
        "BRIDGE_KAFKA__SASL_PASSWORD",
    ]
