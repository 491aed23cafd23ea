import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.config.models import KafkaSettings
from bridge.errors import ConfigError
from bridge.kafka.security import connection_options

PLAIN = KafkaSettings(bootstrap_servers="one:9092,two:9092")


def changed(**changes: object) -> KafkaSettings:
    return PLAIN.model_copy(update=changes)


def test_plaintext_needs_nothing_but_the_brokers() -> None:
    assert connection_options(PLAIN) == {
        "bootstrap_servers": "one:9092,two:9092",
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_is_handed_on(mechanism: str) -> None:
    options = connection_options(
        changed(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_username="bridge",
            sasl_password=SecretStr("secret"),
        )
    )
    login = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    assert [options[name] for name in login] == [mechanism, "bridge", "secret"]
    assert "ssl_context" not in options


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_tls_checks_certificates_and_host_names_and_is_not_old(protocol: str) -> None:
    context = connection_options(changed(security_protocol=protocol, sasl_mechanism="PLAIN"))[
        "ssl_context"
    ]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"BRIDGE_KAFKA__SSL_CAFILE.*nonsense\.pem"):
        connection_options(changed(security_protocol="SSL", ssl_cafile=nonsense))
    with pytest.raises(ConfigError, match=r"BRIDGE_KAFKA__SSL_CERTFILE.*nonsense\.pem"):
        connection_options(changed(security_protocol="SSL", ssl_certfile=nonsense))
