"""Two hosts and a router between them, as network namespaces, so that a path can be cut.

A proxy between them would not do: its own kernel acknowledges what it cannot deliver.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import DependencyAway

CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
_ROUTER = ("10.77.1.1", "10.77.2.1")


@dataclass(frozen=True)
class Network:
    """Names of the namespaces of the three hosts."""

    client: str
    router: str
    server: str

    @contextmanager
    def running(self, host: str, module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a Python module of the tests on a host, its input and output as text."""
        with subprocess.Popen(
            ["ip", "netns", "exec", host, sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            try:
                yield program
            finally:
                program.kill()

    def cut(self) -> None:
        """Let the router forward nothing any more; nobody is told."""
        self._forward("0")

    def heal(self) -> None:
        """Let the router forward again."""
        self._forward("1")

    def _forward(self, value: str) -> None:
        path = "/proc/sys/net/ipv4/ip_forward"
        _ip("netns", "exec", self.router, "sh", "-c", f"echo {value} > {path}")


@contextmanager
def network() -> Iterator[Network]:
    """Make the three hosts; raises DependencyAway where this machine does not allow it."""
    if shutil.which("ip") is None:
        raise DependencyAway("no `ip` (iproute2) on the path")
    mark = uuid.uuid4().hex[:6]
    names = [f"mb-{mark}-{host}" for host in ("client", "router", "server")]
    with ExitStack() as stack:
        for name in names:
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
        hosts = Network(*names)
        for host, address, gateway, link in (
            (hosts.client, CLIENT, _ROUTER[0], "c"),
            (hosts.server, SERVER, _ROUTER[1], "s"),
        ):
            _join(host, hosts.router, address, gateway, f"{link}{mark}")
        hosts.heal()
        yield hosts


def _join(host: str, router: str, address: str, gateway: str, link: str) -> None:
    mine, other = f"a{link}", f"b{link}"
    _ip("link", "add", mine, "netns", host, "type", "veth", "peer", "name", other, "netns", router)
    for name, end, at in ((host, mine, address), (router, other, gateway)):
        _ip("-n", name, "addr", "add", f"{at}/24", "dev", end)
        _ip("-n", name, "link", "set", end, "up")
    _ip("-n", host, "route", "add", "default", "via", gateway)


def _ip(*arguments: str) -> None:
    command: Sequence[str] = ("ip", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DependencyAway(f"{' '.join(command)}: {done.stderr.strip()}")
