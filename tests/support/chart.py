"""Values for the chart, and what it renders: a table of them, and the schemas of their kinds."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

KUBERNETES = ("1.27", "1.32", "1.37")
CRDS = json.loads((Path(__file__).parents[1] / "chart" / "crd_schemas.json").read_text())
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
