"""compose.yaml: what it gives the bridge, and what Prometheus reads there."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from support import apicurio
from support.helm import CHART, ROOT
from typer.main import get_command

from bridge.cli import app
from bridge.config.load import load_settings
from bridge.dev.servers.java_kafka import VERSION

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_the_bridge_accepts_its_settings_there() -> None:
    settings = load_settings(None, environ=SERVICES["bridge"]["environment"])
    assert settings.registry.register_schemas
    load_settings(None, frozenset({"kafka"}), environ=SERVICES["topics"]["environment"])


def test_every_command_there_exists() -> None:
    for name in ("api", "topics"):
        command: Any = get_command(app)
        words = SERVICES[name]["command"]
        for word in (word for word in words if not word.startswith("-")):
            command = command.commands[word]
        options = {option for each in command.params for option in each.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options


def test_versions_are_those_of_the_tests() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{VERSION}"
    assert SERVICES["registry"]["image"].endswith(f":{apicurio.VERSION}")


def test_the_bridge_is_given_the_time_of_a_drain() -> None:
    settings = load_settings(None, environ=SERVICES["bridge"]["environment"])
    needed = settings.api.timeout + settings.kafka.transaction_timeout + 10
    assert SERVICES["bridge"]["stop_grace_period"] == f"{needed:g}s"


def test_every_port_is_on_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_reads_its_settings_and_the_rules(promtool: Path, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for volume in SERVICES["prometheus"]["volumes"]:
        outside, path, _ = volume.split(":")
        inside.joinpath(Path(path).name).write_bytes((ROOT / outside).read_bytes())
    assert (inside / "rules.yaml").read_bytes() == (CHART / "files" / "rules.yaml").read_bytes()
    done = subprocess.run(
        [str(promtool), "check", "config", str(inside / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
