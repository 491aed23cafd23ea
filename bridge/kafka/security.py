"""How to reach and log in to the brokers: from our settings to aiokafka's options."""

from __future__ import annotations

import ssl
from typing import Any

from bridge.config.models import KafkaSettings
from bridge.errors import ConfigError


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the options that every aiokafka object takes to connect.

    Raises ConfigError when a certificate or its key cannot be used.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.security_protocol.startswith("SASL_"):
        password = settings.sasl_password
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = None if password is None else password.get_secret_value()
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """Trust the given certificates or the system's, show our own if any; TLS 1.2 or newer."""
    password = settings.ssl_key_password
    try:
        context = ssl.create_default_context(cafile=settings.ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        problem = f"no usable certificates in {settings.ssl_cafile}: {error}"
        raise ConfigError([f"BRIDGE_KAFKA__SSL_CAFILE: {problem}"]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.ssl_certfile is not None:
        try:
            context.load_cert_chain(
                settings.ssl_certfile,
                settings.ssl_keyfile,
                # A function, because without a password OpenSSL would ask for it on the terminal.
                lambda: "" if password is None else password.get_secret_value(),
            )
        except (OSError, ssl.SSLError) as error:
            problem = f"{settings.ssl_certfile} and its key cannot be used: {error}"
            raise ConfigError([f"BRIDGE_KAFKA__SSL_CERTFILE: {problem}"]) from error
    return context
