"""The embedded Kafka-compatible broker (noida-db), for the demo and for quick tests.

Groups, idempotence, transactions and fencing work as in Apache Kafka. It does not compact, does
not time transactions or members of groups out, has no TLS, and loses acknowledged records when it
is killed.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from aiokafka.protocol.group import LeaveGroupRequest

from bridge.config.models import KafkaSettings
from bridge.dev.servers.keeper import KeptServer, Server, keep
from bridge.errors import DependencyAway
from bridge.kafka.client import KafkaClient, end_admin

_START_SECONDS = 20.0


def embedded_broker() -> KeptServer:
    """Return the embedded broker, not started; a `with` block around its life starts and ends it.

    It chooses its port and keeps its data in memory. Starting it raises DependencyAway where its
    wheel is not installed.
    """
    return KeptServer(__file__)


async def evict_members(address: str) -> None:
    """Take every member out of its group, as a broker does when a session times out.

    The embedded broker never does, so after a process was killed nobody would get its partitions.
    Members that are alive join again at their next heartbeat.
    """
    admin = KafkaClient(KafkaSettings(bootstrap_servers=address)).admin()
    try:
        await admin.start()
        for group, _ in await admin.list_consumer_groups():
            node = await admin.find_coordinator(group)
            # One at a time: the embedded broker's answer about several cannot be decoded.
            for answer in await admin.describe_consumer_groups([group]):
                for member in answer.groups[0][5]:  # type: ignore[attr-defined]
                    leave = LeaveGroupRequest(group, member[0])
                    await admin._client.send(node, leave)  # noqa: SLF001 - aiokafka has no call for it
    finally:
        await end_admin(admin)


def _binary() -> Path:
    package = importlib.util.find_spec("noida_db")
    if package is None or package.origin is None:
        raise DependencyAway(
            "the embedded broker is not installed: pip install '.[demo]' in the project's folder "
            f"(its package noida-db exists for Linux x86-64 and macOS; this is {sys.platform})"
        )
    binary = Path(package.origin).with_name("noida-db")
    binary.chmod(0o755)  # wheels do not keep the permission everywhere
    return binary


def _start(server: Server) -> str:
    log = server.folder / "log"
    options = ["--only", "kafka", "--kafka-port", "0", "--data-dir", str(server.folder / "data")]
    server.run([str(_binary()), "start", *options], log)

    def address() -> str | None:
        said = re.search(r"^\s*kafka\s+(\S+:\d+)\s*$", log.read_text(), re.MULTILINE)
        return said and said[1]

    server.wait_until(lambda: address() is not None, log, _START_SECONDS)
    return address() or ""


if __name__ == "__main__":
    keep(_start)
