"""The image that users run: what is in it, and that it works under the strictest settings."""

import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from support import verdict
from support.brokers import Broker
from support.image import ROOT, Image
from support.stage import Bridge, stage

from bridge import __version__
from bridge.clock import Clock
from bridge.config.load import describe_settings

CLOCK = Clock()

PRIVILEGES = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
try:
    open("/tmp/file", "w")
    wrote = True
except OSError:
    wrote = False
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "capabilities": [int(value, 16) for name, value in status.items() if name.startswith("Cap")],
    "wrote": wrote,
}))
"""


def test_the_image_says_its_version(image: Image) -> None:
    done = image.run("--version")
    assert (done.returncode, done.stdout) == (0, f"mission-bridge {__version__}\n"), done.stderr


def test_the_image_runs_as_nobody_with_nothing_to_write(image: Image) -> None:
    done = image.run("-c", PRIVILEGES, entry=["python"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "user": [65532, 65532],
        "capabilities": [0] * 5,
        "wrote": False,
    }


def test_the_image_adds_its_own_folder_alone(image: Image) -> None:
    mounted = {"dev", "proc", "sys", "etc/resolv.conf", "etc/hosts", "run/.containerenv"}
    outside = {path for path in image.added() if not path.startswith("opt/bridge")}
    assert outside <= mounted


def test_the_image_has_neither_compiler_nor_installer_nor_cache(image: Image) -> None:
    paths = image.added()
    assert paths
    unwanted = re.compile(r"(^|/)(gcc|cc|g\+\+|make|pip|pip3|uv|\.cache|hatchling|pip-.*)$")
    assert not [path for path in paths if unwanted.search(path)]
    installed = {path.name for path in image.root.glob("opt/bridge/lib/python3.11/site-packages/*")}
    assert "noida_db" not in installed, "the embedded broker is for the demo alone"


def test_all_code_is_compiled_beforehand(image: Image) -> None:
    sources = list(image.root.glob("opt/bridge/lib/python3.11/site-packages/bridge/**/*.py"))
    assert sources
    for source in sources:
        assert list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc")), source


def test_the_image_describes_itself(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "mission-bridge"
    assert labels["org.opencontainers.image.version"] == __version__
    assert image.config["StopSignal"] == "SIGTERM"
    known = {setting.variable for setting in describe_settings()}
    named = {name for name, _, _ in (entry.partition("=") for entry in image.config["Env"])}
    assert {name for name in named if name.startswith("BRIDGE_")} <= known
    assert "BRIDGE_OPS__HOST=0.0.0.0" in image.config["Env"]


def test_a_mistake_in_the_settings_ends_the_container(image: Image) -> None:
    done = image.run("run", BRIDGE_KAFKA__BOOTSTRAP_SERVER="kafka:9092")
    assert done.returncode == 78
    assert "BRIDGE_KAFKA__BOOTSTRAP_SERVERS" in done.stderr


def test_the_image_has_the_simulated_api(image: Image) -> None:
    with subprocess.Popen(image.command("simulate"), stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            url = json.loads(program.stdout.readline())["url"].removesuffix("/v2")
            with urllib.request.urlopen(f"{url}/_control/", timeout=30) as answer:  # noqa: S310
                assert answer.status == 200
        finally:
            program.terminate()
    assert program.returncode == 0


@pytest.mark.parametrize("kafka", ["real"], indirect=True)
def test_the_image_carries_events_and_drains(
    image: Image, kafka: Broker, topic_prefix: str, tmp_path: Path
) -> None:
    with stage(kafka, topic_prefix, tmp_path, events=100) as scene:
        ours = {
            name: value
            for name, value in scene.env().items()
            if name.startswith(("BRIDGE_", "TELNYX_"))
        }
        command = image.command(*image.config["Cmd"], **ours, BRIDGE_OPS__HOST="127.0.0.1")
        started = CLOCK.monotonic()
        bridge = Bridge(kafka, dict(os.environ), tmp_path, command=command)
        scene.bridges.append(bridge)
        bridge.ready()
        seconds = CLOCK.monotonic() - started
        print(f"ready {seconds:.1f} s after the container was started")  # noqa: T201 - not judged
        verdict.expect_exact(scene, bridge)
        port = bridge.ops.rpartition(":")[2]
        assert healthy(image, port)
        assert bridge.stop() == 0
        assert "drained" in bridge.output
        assert not healthy(image, port)


def healthy(image: Image, port: str) -> bool:
    """Whether the image's own health check finds a bridge on that port."""
    kind, *check = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    done = image.run(entry=check, BRIDGE_OPS__PORT=port)
    return done.returncode == 0


def test_the_grace_in_the_dockerfile_is_the_documented_one() -> None:
    (seconds,) = re.findall(r"before SIGKILL \((\d+) s\)", (ROOT / "Dockerfile").read_text())
    operations = (ROOT / "docs" / "OPERATIONS.md").read_text()
    assert f"before SIGKILL ({seconds} s with the defaults)" in operations
