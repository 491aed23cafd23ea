"""The chart: what it says of itself, what clusters accept of it, and what it refuses."""

import json
import re
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from support.chart import (
    CRDS,
    EVERYTHING,
    KUBERNETES,
    LEAST,
    TABLE,
    Document,
    judge,
    of_kind,
    values,
)
from support.chart_schema import FILE, with_settings
from support.helm import CHART, Helm

from bridge import __version__


@pytest.mark.parametrize("given", [None, *TABLE])
def test_the_chart_has_nothing_that_lint_minds(helm: Helm, given: str | None) -> None:
    done = helm.run("lint", "--strict", str(CHART), values=TABLE[given] if given else None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_the_chart_is_of_the_version_of_the_bridge() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["appVersion"], chart["version"]) == (__version__, __version__)


def test_the_schema_of_the_values_has_the_settings_as_they_are() -> None:
    schema = json.loads(FILE.read_text())
    assert schema == with_settings(schema), "`make chart-schema` writes them anew"


def test_every_value_is_in_the_schema_and_every_part_of_the_schema_has_a_value() -> None:
    schema = json.loads(FILE.read_text())["properties"]
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(given) == set(schema) - {"global"}
    for name, part in schema.items():
        if name != "config" and "properties" in part:
            assert set(given[name]) == set(part["properties"]), name


@pytest.mark.parametrize("version", KUBERNETES)
def test_clusters_accept_what_is_rendered(rendered: list[Document], version: str) -> None:
    for document in rendered:
        judge(document, version)


def test_every_kind_that_the_chart_has_is_rendered(helm: Helm) -> None:
    kinds = {document["kind"] for given in TABLE.values() for document in helm.template(given)}
    written = " ".join(path.read_text() for path in (CHART / "templates").rglob("*.yaml"))
    assert set(re.findall(r"^kind: (\w+)$", written, re.MULTILINE)) <= kinds
    assert kinds > set(CRDS)


def test_a_mistyped_name_in_any_kind_is_caught(helm: Helm) -> None:
    documents = [*helm.template(EVERYTHING), *helm.template(TABLE["service monitor"])]
    for document in documents:
        inside = next(part for part in ("spec", "data", "metadata") if part in document)
        if inside == "data":  # whose names are free
            document["dta"] = document.pop("data")
        elif inside == "metadata":
            document["automountServiceAccountTokn"] = False
        else:
            name = sorted(document["spec"])[0]
            document["spec"][f"{name}x"] = document["spec"].pop(name)
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            judge(document, KUBERNETES[-1])


def test_a_mistyped_name_deep_inside_is_caught(helm: Helm) -> None:
    for kind, path in {
        "PodMonitor": ("spec", "podMetricsEndpoints", 0, "intervall"),
        "PrometheusRule": ("spec", "groups", 0, "rules", 0, "labls"),
        "ScaledObject": ("spec", "triggers", 0, "metricTyp"),
        "Deployment": ("spec", "template", "spec", "containers", 0, "livenessProb"),
        "NetworkPolicy": ("spec", "egress", 0, "ports", 0, "prt"),
    }.items():
        (document, *_) = of_kind(helm.template(EVERYTHING), kind)
        *way, name = path
        place: Any = document
        for step in way:
            place = place[step]
        place[name] = "x"
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            judge(document, KUBERNETES[-1])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"image": {"repository": ""}}, "image.repository: say where you pushed the image"),
        ({"config": {"kafka": {"bootstrap_servers": ""}}}, "name the brokers"),
        ({"config": {"registry": {"url": ""}}}, "say where the schema registry is"),
        ({"config": {"kafka": {"topic_prefx": "a"}}}, "'topic_prefx' not allowed"),
        ({"config": {"ops": {"port": 0}}}, "minimum"),
        ({"replica": 2}, "'replica' not allowed"),
        ({"secrets": {"TELNYX_API_KEY": {"secret": "a", "key": "b"}}}, "TELNYX_API_KEY"),
        ({"sourceKeys": {"a": {"secret": "a", "key": "b"}}}, "no source of this name"),
        (
            {"config": {"source": {"page_size": 100}, "sources": [{"name": "a"}]}},
            "cannot be beside config.sources",
        ),
        ({"keda": {"enabled": True, "prometheus": "http://p"}}, "needs separateCommands"),
        ({"separateCommands": True, "keda": {"enabled": True}}, "say where Prometheus answers"),
    ],
)
def test_values_that_cannot_work_are_refused_with_their_name(
    helm: Helm, given: Document, words: str
) -> None:
    assert words in helm.refusal(values(**given))


def test_an_api_key_is_asked_for(helm: Helm) -> None:
    without = {name: value for name, value in LEAST.items() if name != "secrets"}
    assert "name the Secret that holds the API key" in helm.refusal(without)
