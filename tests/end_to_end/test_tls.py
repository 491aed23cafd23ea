"""An API that is somebody else: no request and no key leaves before its certificate is proven."""

import socket
import ssl
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support import verdict
from support.brokers import Broker
from support.certificates import Authority
from support.stage import Bridge, Stage, stage, wait_for


def says(bridge: Bridge, told: str) -> bool:
    return told in bridge.reason


def requests(scene: Stage) -> int:
    return int(scene.api.call(scene.simulator.ledger)["summary"]["requests"])


@pytest.mark.parametrize("kafka", ["real"], indirect=True)
def test_an_api_that_cannot_prove_who_it_is_gets_no_request(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    trusted, other = Authority(tmp_path / "trusted"), Authority(tmp_path / "other")
    good = trusted.issue()
    impostors: dict[str, dict[str, Any]] = {
        "unable to get local issuer": other.issue(),
        "certificate has expired": trusted.issue(valid=timedelta(days=-1)),
        "IP address mismatch": trusted.issue(x509.DNSName("elsewhere.example")),
        "SSL": {},  # no TLS at all
    }
    with stage(kafka, topic_prefix, tmp_path, events=50) as scene:
        scene.api.stop()
        scene.api.start(**good)
        bridge = scene.run(
            "--only",
            "events",
            TELNYX_BASE_URL=f"{scene.api.url.replace('http:', 'https:')}/v2",
            BRIDGE_API__CA_FILE=str(trusted.file),
        ).ready()
        verdict.expect_exact(scene, bridge)
        for told, impostor in impostors.items():
            scene.api.stop()
            scene.insert(5)
            before = requests(scene)
            scene.api.start(**impostor)
            wait_for(partial(says, bridge, told))
            assert requests(scene) == before
            scene.api.stop()
            scene.api.start(**good)
            verdict.expect_exact(scene, bridge)
        with socket.create_server(("127.0.0.1", 0)) as plain:
            where = f"http://127.0.0.1:{plain.getsockname()[1]}/v2/ai/missions/events"
            fault = {"kind": "status", "status": 301, "headers": {"location": where}}
            scene.control("faults", {"operation": "list_events", **fault})
            wait_for(lambda: "never followed" in bridge.reason)
            plain.settimeout(0)
            with pytest.raises(BlockingIOError):
                plain.accept()


def test_a_registry_with_a_private_authority_may_ask_who_we_are(
    kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    ours = authority.issue()
    with stage(kafka, topic_prefix, tmp_path, events=50) as scene:
        scene.registry.stop()
        scene.registry.start(
            **authority.issue(), ssl_ca_certs=authority.file, ssl_cert_reqs=ssl.CERT_REQUIRED
        )
        private = {
            "BRIDGE_REGISTRY__URL": scene.registry.url.replace("http:", "https:"),
            "BRIDGE_REGISTRY__CA_FILE": str(authority.file),
            "BRIDGE_REGISTRY__CERT_FILE": str(ours["ssl_certfile"]),
            "BRIDGE_REGISTRY__KEY_FILE": str(ours["ssl_keyfile"]),
        }
        scene.command("schemas", "check", **private)
        bridge = scene.run("--only", "events", **private).ready()
        wait_for(lambda: bridge.published == len(scene.events()))
        assert bridge.stop() == 0
        stranger = scene.run(**{k: v for k, v in private.items() if not k.endswith("CA_FILE")})
        wait_for(lambda: "BRIDGE_REGISTRY__CA_FILE names" in stranger.output)
