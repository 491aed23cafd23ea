"""A real schema registry (Apicurio) as a local process, from Maven Central.

Fetches 110 MB once; later it starts in about five seconds. Contents live in memory.
"""

import os
import sys
import tarfile
import tempfile
import urllib.request
from functools import partial
from pathlib import Path

from bridge.dev.servers.java_kafka import CACHE, java_tool, maven
from bridge.dev.servers.keeper import KeptServer, Server, free_ports, keep

VERSION = "3.0.9"  # the last that runs on Java 17

_START_SECONDS = 90.0


def apicurio(cache: Path = CACHE) -> KeptServer:
    """Return the registry, not started; `address` is its Confluent-compatible URL.

    Starting it raises DependencyAway with what is missing.
    """
    return KeptServer(__file__, str(cache))


def _unpacked(cache: Path) -> Path:
    """Return the folder of the server, fetched when it is not there yet."""
    home = cache / f"apicurio-{VERSION}"
    if not home.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            fetched, unpacked = Path(name) / "fetched", Path(name) / "unpacked"
            artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
            # Without its dependencies: they are inside, and its parent pom is not on every mirror.
            goal = ["dependency:get", "-Dtransitive=false", f"-Dartifact={artifact}"]
            maven([f"-Dmaven.repo.local={fetched}", *goal], f"Apicurio Registry {VERSION}")
            with tarfile.open(next(fetched.rglob("apicurio-registry-app-*-all.tar.gz"))) as archive:
                archive.extractall(unpacked, filter="data")
            if not home.exists():  # another process may have been faster
                unpacked.rename(home)
    return home


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=2):  # noqa: S310 - our own server
            return True
    except OSError:
        return False


def _start(server: Server) -> str:
    java = java_tool("java", f"Apicurio Registry {VERSION}")
    home = _unpacked(Path(sys.argv[1]))
    jar = next(jar for name in ("quarkus-run.jar", "*-runner.jar") for jar in home.glob(name))
    port, management = free_ports(2)
    environment = {
        **os.environ,
        "QUARKUS_HTTP_HOST": "127.0.0.1",
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
        "QUARKUS_MANAGEMENT_PORT": str(management),
    }
    log = server.folder / "log"
    flags = ["-Xmx384m", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={server.folder}"]
    server.run([java, *flags, "-jar", str(jar)], log, environment)
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    server.wait_until(partial(_answers, url), log, _START_SECONDS)
    return url


if __name__ == "__main__":
    keep(_start)
