"""Real Apache Kafka (KRaft) as local processes, its jars from Maven Central.

For tests, and for the demo where the embedded broker has no wheel. Needs Java 17 or newer and
Maven, which fetches 43 MB once; later a broker starts in about five seconds.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bridge.dev.servers.keeper import KeptServer, Server, free_ports, keep
from bridge.errors import DependencyAway

VERSION = "4.4.0"
CACHE = Path.home() / ".cache" / "mission-bridge"

_LOG4J_VERSION = "2.25.5"
_START_SECONDS = 90.0
_FETCH_SECONDS = 600.0

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>missionbridge</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{log4j}</version>
    </dependency>
  </dependencies>
</project>
"""

_LOG4J = """status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.started.name = kafka.server.KafkaRaftServer
logger.started.level = info
"""

# Group and transaction time-outs may be short, so that tests of failures need not wait long.
_PROPERTIES = """process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=3
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
"""


def java_kafka(brokers: int = 1, cache: Path = CACHE, *properties: str) -> KeptServer:
    """Return Apache Kafka, not started; starting it raises DependencyAway with what is missing.

    `address` lists all brokers; topics get three copies, or as many as there are brokers.
    `properties` (name=value) go over those of the brokers.
    """
    return KeptServer(__file__, str(brokers), str(cache), *properties)


def java_tool(name: str, needed_by: str) -> str:
    """Return the path of `java` or `mvn`. Raises DependencyAway where it is missing or too old."""
    path = shutil.which(name)
    if path is None:
        raise DependencyAway(f"{needed_by} needs Java 17 or newer and Maven: there is no `{name}`")
    if name == "java":
        said = subprocess.run(  # noqa: S603 - found on the path
            [path, "-version"], capture_output=True, text=True, check=False
        ).stderr
        version = re.search(r'version "(\d+)', said)
        if version is None or int(version[1]) < 17:
            raise DependencyAway(f"{needed_by} needs Java 17 or newer; {path} says: {said[:80]}")
    return path


def maven(arguments: list[str], what: str) -> None:
    """Run Maven to fetch `what`. Raises DependencyAway with what it said."""
    command = [java_tool("mvn", what), "-q", "-B", *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - found on the path
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DependencyAway(f"Maven could not fetch {what} in {_FETCH_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise DependencyAway(f"Maven could not fetch {what}: {done.stdout[-500:]}")


def _jars(cache: Path) -> Path:
    """Return the folder with the broker's jars, fetched when it is not there yet."""
    jars = cache / f"kafka-{VERSION}"
    if not jars.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as name:
            pom, fetched = Path(name) / "pom.xml", Path(name) / "jars"
            pom.write_text(_POM.format(kafka=VERSION, log4j=_LOG4J_VERSION))
            goal = ["-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
            maven([*goal, f"-DoutputDirectory={fetched}"], f"Apache Kafka {VERSION}")
            if not jars.exists():  # another process may have been faster
                fetched.rename(jars)
    return jars


def _configure(
    server: Server, brokers: int, properties: Sequence[str]
) -> tuple[list[Path], list[int]]:
    """Write each broker's configuration; return the files and the brokers' ports."""
    ports, controllers = free_ports(brokers), free_ports(brokers)
    voters = ",".join(f"{i + 1}@127.0.0.1:{port}" for i, port in enumerate(controllers))
    replicas = min(brokers, 3)
    files = []
    for i in range(brokers):
        file = server.folder / f"server-{i + 1}.properties"
        file.write_text(
            _PROPERTIES.format(
                node=i + 1,
                voters=voters,
                port=ports[i],
                controller_port=controllers[i],
                data=server.folder / f"broker-{i + 1}",
                replicas=replicas,
                in_sync=max(1, replicas - 1),
            )
            + "\n".join(properties)
        )
        files.append(file)
    return files, ports


def _started(log: Path) -> bool:
    return "Kafka Server started" in log.read_text()


def _start(server: Server) -> str:
    brokers, cache = int(sys.argv[1]), Path(sys.argv[2])
    java = java_tool("java", f"Apache Kafka {VERSION}")
    jars = _jars(cache)
    log4j = server.folder / "log4j2.properties"
    log4j.write_text(_LOG4J)
    flags = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    command = [java, *flags, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}/*"]
    files, ports = _configure(server, brokers, sys.argv[3:])
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
    # Joined to its option by "=", because one in 64 begins with a hyphen.
    form = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}"]
    for file in files:
        formatted = subprocess.run(  # noqa: S603 - found on the path
            [*command, *form, f"--config={file}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode != 0:
            raise DependencyAway(f"Kafka could not make its folder: {formatted.stderr[-500:]}")
        server.run([*command, "kafka.Kafka", str(file)], file.with_suffix(".log"))
    for file in files:
        log = file.with_suffix(".log")
        server.wait_until(partial(_started, log), log, _START_SECONDS)
    return ",".join(f"127.0.0.1:{port}" for port in ports)


if __name__ == "__main__":
    keep(_start)
