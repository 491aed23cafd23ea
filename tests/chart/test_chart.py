"""The chart: what it makes of values, judged by schemas, by rules of ours and by the bridge."""

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from support.chart_schema import FILE, files, with_settings
from support.helm import CHART, Helm
from typer.main import get_command

from bridge import __version__
from bridge.cli import app
from bridge.config.load import describe_settings, load_settings
from bridge.supervise import CLOSE_SECONDS

KUBERNETES = ("1.27", "1.32", "1.37")
CRDS = json.loads((Path(__file__).parent / "crd_schemas.json").read_text())
Document = dict[str, Any]

LEAST: Document = {
    "image": {"repository": "registry.example/mission-bridge"},
    "config": {
        "kafka": {"bootstrap_servers": "kafka-1:9092, kafka-2:9094"},
        "registry": {"url": "http://registry:8081"},
    },
    "secrets": {"TELNYX_API_KEY_FILE": {"secret": "telnyx", "key": "api-key"}},
}


def values(**more: Any) -> Document:
    """The least values with others laid over them."""
    merged = copy.deepcopy(LEAST)
    lay_over(merged, more)
    return merged


def lay_over(below: Document, above: Document) -> None:
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            lay_over(below[name], value)
        else:
            below[name] = value


EVERYTHING = values(
    config={
        "api": {"timeout": 12.5, "rate": 20, "base_url": "https://gateway.example:8443/v2"},
        "kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
                  "sasl_username": "bridge", "transaction_timeout": 90, "topic_prefix": "m"},
        "registry": {"url": "https://registry.example"},
        "sources": [{"name": "emea", "lateness": 600}, {"name": "apac", "start": "latest"}],
        "commands": {"allow": ["start_run", "pause_run"], "max_starts_per_minute": 1000000},
        "ops": {"port": 9500},
        "log": {"level": "debug", "format": "json"},
    },
    secrets={
        "BRIDGE_KAFKA__SASL_PASSWORD_FILE": {"secret": "user", "key": "password"},
        "BRIDGE_KAFKA__SSL_CAFILE": {"secret": "cluster-ca", "key": "ca.crt"},
        "BRIDGE_REGISTRY__CA_FILE": {"configMap": "company", "key": "ca.pem"},
    },
    sourceKeys={"emea": {"secret": "telnyx", "key": "emea"}},
    separateCommands=True,
    setup={"enabled": True},
    monitoring={"kind": "PodMonitor", "labels": {"release": "p"}, "rules": {"enabled": True}},
    keda={"enabled": True, "prometheus": "http://prometheus:9090", "authentication": "auth"},
    serviceAccount={"annotations": {"a": "b"}},
    service={"annotations": {"a": "b"}},
    podAnnotations={"a": "b"},
    podLabels={"team": "t"},
    nodeSelector={"disk": "ssd"},
    tolerations=[{"key": "k", "operator": "Exists"}],
    affinity={"nodeAffinity": {}},
    priorityClassName="high",
    imagePullSecrets=[{"name": "pull"}],
    extraEnv=[{"name": "BRIDGE_LOG__LEVEL", "value": "info"}],
    extraVolumes=[{"name": "more", "emptyDir": {}}],
    extraVolumeMounts=[{"name": "more", "mountPath": "/more"}],
)  # fmt: skip

TABLE: dict[str, Document] = {
    "least": LEAST,
    "everything": EVERYTHING,
    "service monitor": values(monitoring={"kind": "ServiceMonitor"}),
    "by digest": values(image={"digest": f"sha256:{'a' * 64}"}),
    "nothing optional": values(
        networkPolicy={"enabled": False},
        podDisruptionBudget={"enabled": False},
        serviceAccount={"create": False},
        topologySpread=[],
        terminationGracePeriodSeconds=30,
    ),
}


@pytest.fixture(params=TABLE)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> list[Document]:
    return helm.template(TABLE[request.param])


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Every pod specification, by kind and name."""
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif "template" in document.get("spec", {}):
            yield name, document["spec"]["template"]["spec"]


def containers(pod: Document) -> list[Document]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def judge(document: Document, version: str) -> None:
    """Raise what is wrong with a document by the schema of its kind."""
    if document["kind"] in CRDS:
        jsonschema.validate(document, CRDS[document["kind"]])
    else:
        kubernetes_validate.validate(document, version, strict=True)


# --- what the chart says of itself


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


# --- what the clusters accept


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


# --- what the bridge accepts


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


# --- what a pod may do


def test_pods_are_restricted(rendered: list[Document]) -> None:
    for name, pod in pods(rendered):
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name
        assert (context["runAsUser"], context["runAsGroup"]) == (65532, 65532)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "BRIDGE_... of a Service would be no setting"
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_secrets_are_files_that_the_group_reads(helm: Helm) -> None:
    for _, pod in pods(helm.template(EVERYTHING)):
        (volume,) = [v["projected"] for v in pod["volumes"] if v["name"] == "secrets"]
        assert volume["defaultMode"] == 0o440
        assert {
            "secret": {"name": "telnyx", "items": [{"key": "emea", "path": "sources/emea"}]}
        } in (volume["sources"])


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


def test_probes_ask_paths_that_the_ops_port_has(rendered: list[Document]) -> None:
    operations = (CHART.parents[1] / "docs" / "OPERATIONS.md").read_text()
    for deployment in of_kind(rendered, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        paths = {
            kind: container[f"{kind}Probe"]["httpGet"]["path"]
            for kind in ("startup", "liveness", "readiness")
        }
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
        assert all(f"| `{path}` |" in operations for path in paths.values())
        assert [port["name"] for port in container["ports"]] == ["ops"]


# --- how pods are found, spread and replaced


def test_selectors_find_the_pods_that_they_are_meant_for(rendered: list[Document]) -> None:
    deployments = of_kind(rendered, "Deployment")
    for deployment in deployments:
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for kind in ("Service", "PodDisruptionBudget"):
        for document in of_kind(rendered, kind):
            selector = document["spec"]["selector"]
            chosen = selector.get("matchLabels", selector)
            found = [
                deployment["metadata"]["name"]
                for deployment in deployments
                if chosen.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
            ]
            assert found == [document["metadata"]["name"]]
    for deployment in deployments:
        for spread in deployment["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"] == deployment["spec"]["selector"]


def test_other_settings_replace_the_pods_and_the_same_do_not(helm: Helm) -> None:
    def checksum(given: Document) -> str:
        (deployment,) = of_kind(helm.template(given), "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    before = checksum(LEAST)
    assert checksum(values(replicas=5)) == before
    assert checksum(values(config={"log": {"level": "debug"}})) != before


def test_commands_have_a_deployment_of_their_own_where_they_scale(helm: Helm) -> None:
    documents = helm.template(EVERYTHING)
    events, commands = of_kind(documents, "Deployment")
    assert "--only=events" in events["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--only=commands" in commands["spec"]["template"]["spec"]["containers"][0]["args"]
    assert events["spec"]["replicas"] == 2
    assert "replicas" not in commands["spec"], "KEDA sets them"
    (scaled,) = of_kind(documents, "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == commands["metadata"]["name"]
    metadata = scaled["spec"]["triggers"][0]["metadata"]
    assert metadata["threshold"] == "14", "70 % of 20 requests a second"
    assert 'namespace="there",pod=~"r-mission-bridge-commands-.+"' in metadata["query"]


# --- the network


def ways_out(policy: Document) -> list[tuple[list[int], Any]]:
    return [
        (sorted({port["port"] for port in rule["ports"]}), rule.get("to"))
        for rule in policy["spec"]["egress"]
    ]


def test_the_network_has_four_ways_out_and_one_in(helm: Helm) -> None:
    (policy,) = of_kind(helm.template(LEAST), "NetworkPolicy")
    spec = policy["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (inward,) = spec["ingress"]
    assert inward["ports"] == [{"protocol": "TCP", "port": 9464}]
    ports = [ports for ports, _ in ways_out(policy)]
    assert ports == [[53], [9092, 9094], [8081], [443]]
    internet = ways_out(policy)[3][1]
    assert "169.254.0.0/16" in internet[0]["ipBlock"]["except"], "where clouds have their keys"


def test_the_ports_of_the_network_follow_from_the_settings(helm: Helm) -> None:
    (policy,) = of_kind(helm.template(EVERYTHING), "NetworkPolicy")
    assert [ports for ports, _ in ways_out(policy)] == [[53], [9092, 9094], [443], [8443]]
    behind = values(
        config={"api": {"proxy": "http://proxy:3128"}},
        networkPolicy={"brokers": {"ports": [9300]}, "registry": {"to": [{"podSelector": {}}]}},
    )
    (policy,) = of_kind(helm.template(behind), "NetworkPolicy")
    assert [ports for ports, _ in ways_out(policy)] == [[53], [9300], [8081], [3128]]
    assert ways_out(policy)[2][1] == [{"podSelector": {}}]


def test_the_network_policy_is_for_every_pod_of_the_release(helm: Helm) -> None:
    documents = helm.template(EVERYTHING)
    (policy,) = of_kind(documents, "NetworkPolicy")
    chosen = policy["spec"]["podSelector"]["matchLabels"].items()
    for document in documents:
        if document["kind"] == "Pod":
            assert chosen <= document["metadata"]["labels"].items()
        elif "template" in document.get("spec", {}):
            assert chosen <= document["spec"]["template"]["metadata"]["labels"].items()


# --- before, after and beside


def test_topics_and_schemas_are_made_before_an_upgrade(helm: Helm) -> None:
    documents = helm.template(EVERYTHING)
    hooks = {
        document["kind"]: document["metadata"]["annotations"]
        for document in documents
        if document["metadata"]["name"] == "r-mission-bridge-setup"
    }
    assert set(hooks) == {"ConfigMap", "Job"}
    assert {hook["helm.sh/hook"] for hook in hooks.values()} == {"pre-install,pre-upgrade"}
    first, second = (int(hooks[kind]["helm.sh/hook-weight"]) for kind in ("ConfigMap", "Job"))
    assert first < second, "the Job reads the ConfigMap"
    (job,) = of_kind(documents, "Job")
    pod = job["spec"]["template"]["spec"]
    commands = [container["args"][:2] for container in containers(pod)]
    assert commands == [["topics", "apply"], ["schemas", "register"]]
    assert "serviceAccountName" not in pod, "it is not there yet before an install"
    assert not of_kind(helm.template(LEAST), "Job")


def test_the_test_of_a_release_changes_nothing(rendered: list[Document]) -> None:
    (pod,) = of_kind(rendered, "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    commands = [container["args"][:2] for container in containers(pod["spec"])]
    assert commands == [["topics", "plan"], ["schemas", "check"]]


def test_monitors_scrape_bridges_that_are_not_ready_too(helm: Helm) -> None:
    documents = helm.template(TABLE["service monitor"])
    (monitor,) = of_kind(documents, "ServiceMonitor")
    (service,) = of_kind(documents, "Service")
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"] == "ops"
    assert service["spec"]["publishNotReadyAddresses"]
    assert (
        monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    )


def test_the_rules_are_those_of_the_file(helm: Helm) -> None:
    (rule,) = of_kind(helm.template(EVERYTHING), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "rules.yaml").read_text())


def test_the_notes_name_the_next_command(helm: Helm) -> None:
    for given, deployment in ((LEAST, "r-mission-bridge"), (EVERYTHING, "r-mission-bridge-events")):
        done = helm.run("install", "r", str(CHART), "--dry-run=client", values=given)
        assert done.returncode == 0, done.stderr
        notes = done.stdout.partition("NOTES:")[2]
        assert "helm test r" in notes
        assert f"deploy/{deployment}" in notes
        assert ("setup.enabled=true" in notes) == (given is LEAST)


# --- what is refused


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
