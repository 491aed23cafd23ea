"""Configurations for tests: the three settings that are needed, and what a test adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config.load import load_settings
from bridge.config.models import Settings
from bridge.errors import ConfigError

CANARY = "KEY0canary0never0to0be0seen"
NEEDED = {
    "TELNYX_API_KEY": CANARY,
    "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092",
    "BRIDGE_REGISTRY__URL": "http://registry:8081",
}


def load(toml: Path | None = None, /, **environ: str) -> Settings:
    return load_settings(toml, environ={**NEEDED, **environ})


def problems(toml: Path | None = None, /, **environ: str) -> tuple[str, ...]:
    """What is said about a configuration that must be refused; never a secret."""
    with pytest.raises(ConfigError) as caught:
        load(toml, **environ)
    assert CANARY not in str(caught.value)
    return caught.value.problems
