"""What the pods of the chart may do, and what is beside them."""

from typing import Any

import yaml
from support.chart import EVERYTHING, LEAST, TABLE, Document, containers, of_kind, pods, values
from support.helm import CHART, Helm


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
