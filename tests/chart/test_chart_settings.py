"""The chart's settings, read as the bridge reads them."""

import math
from pathlib import Path
from typing import Any

from support.chart import (
    EVERYTHING,
    LEAST,
    TABLE,
    Document,
    containers,
    of_kind,
    pods,
    values,
)
from support.chart_schema import files
from support.helm import Helm
from typer.main import get_command

from bridge.cli import app
from bridge.config.load import describe_settings, load_settings
from bridge.supervise import CLOSE_SECONDS


def read_by_the_bridge(documents: list[Document], folder: Path, name: str) -> Any:
    """Load the settings that the containers of a pod would have, with files in place."""
    by_name = {d["metadata"]["name"]: d["data"] for d in of_kind(documents, "ConfigMap")}
    (pod,) = [pod for named, pod in pods(documents) if named == name]
    (volume,) = [v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config"]
    mounted = folder / "mounted"
    (secrets,) = [v["projected"] for v in pod["volumes"] if v["name"] == "secrets"]
    for source in secrets["sources"]:
        (item,) = next(iter(source.values()))["items"]
        (mounted / item["path"]).parent.mkdir(parents=True, exist_ok=True)
        (mounted / item["path"]).write_text(f"secret-of-{item['path'].replace('/', '-')}")
    toml = folder / "bridge.toml"
    toml.write_text(by_name[volume]["bridge.toml"].replace("/var/run/mission-bridge", str(mounted)))
    environ = {
        entry["name"]: entry["value"].replace("/var/run/mission-bridge", str(mounted))
        for entry in containers(pod)[0]["env"]
    }
    return load_settings(toml, environ=environ)


def test_the_bridge_reads_its_settings_as_they_were_given(helm: Helm, tmp_path: Path) -> None:
    documents = helm.template(EVERYTHING)
    for name in ("Deployment r-mission-bridge-events", "Job r-mission-bridge-setup"):
        settings = read_by_the_bridge(documents, tmp_path, name)
        assert (settings.api.timeout, settings.api.rate) == (12.5, 20)
        assert settings.kafka.sasl_password.get_secret_value().startswith("secret-of-BRIDGE_KAFKA")
        assert settings.registry.ca_file is not None
        assert [source.name for source in settings.sources] == ["emea", "apac"]
        assert settings.sources[0].api_key.get_secret_value() == "secret-of-sources-emea"
        assert settings.sources[1].api_key is None
        assert settings.commands.allow == {"start_run", "pause_run"}
        assert settings.commands.max_starts_per_minute == 1_000_000
        assert (settings.ops.host, settings.ops.port) == ("0.0.0.0", 9500)  # noqa: S104


def test_the_least_values_leave_every_default_of_the_bridge(helm: Helm, tmp_path: Path) -> None:
    name = "Deployment r-mission-bridge"
    settings = read_by_the_bridge(helm.template(LEAST), tmp_path, name)
    bare = load_settings(
        None,
        environ={
            "TELNYX_API_KEY": "secret-of-TELNYX_API_KEY_FILE",
            "BRIDGE_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "BRIDGE_REGISTRY__URL": settings.registry.url,
            "BRIDGE_OPS__HOST": "0.0.0.0",  # noqa: S104 - what the image sets
        },
    )
    without_file = settings.api.model_copy(update={"api_key_file": None})
    assert settings.model_copy(update={"api": without_file}) == bare


def test_every_variable_that_the_chart_sets_exists(rendered: list[Document]) -> None:
    known = {setting.variable for setting in describe_settings()}
    for name, pod in pods(rendered):
        for container in containers(pod):
            assert {entry["name"] for entry in container["env"]} <= known, name


def test_every_command_that_the_chart_runs_exists(rendered: list[Document]) -> None:
    for name, pod in pods(rendered):
        for container in containers(pod):
            command: Any = get_command(app)
            for word in container["args"]:
                if not word.startswith("-"):
                    command = command.commands[word]
            options = {name for option in command.params for name in option.opts}
            given = {word.partition("=")[0] for word in container["args"] if word.startswith("-")}
            assert given <= options, name


def test_no_secret_can_be_written_into_the_values(helm: Helm) -> None:
    for setting in describe_settings():
        if setting.secret:
            branch, key = setting.path
            refused = helm.refusal(values(config={branch: {key: "KEY"}}))
            assert f"'{key}' not allowed" in refused
    for setting in files():
        assert setting.variable in helm.refusal(values(secrets={setting.variable: "KEY"}))


def test_the_grace_is_the_documented_time_of_a_drain(helm: Helm, tmp_path: Path) -> None:
    for given in (LEAST, EVERYTHING):
        documents = helm.template(given)
        for document in of_kind(documents, "Deployment"):
            name = f"Deployment {document['metadata']['name']}"
            settings = read_by_the_bridge(documents, tmp_path, name)
            grace = document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
            needed = settings.api.timeout + settings.kafka.transaction_timeout + 10
            assert grace == math.ceil(needed)
            assert grace > settings.drain_seconds + CLOSE_SECONDS
    (given_by_hand,) = of_kind(helm.template(TABLE["nothing optional"]), "Deployment")
    assert given_by_hand["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
