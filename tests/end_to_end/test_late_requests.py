"""What the bridge gave up does not leave this machine later, when the path is whole again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import cut_path

CUT = 40
"""Seconds without a path: long enough that the kernel's repetitions are half a minute apart."""

ALONE = [["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]]
TESTS = Path(cut_path.__file__).parents[1]


def network_of_its_own() -> list[str]:
    """Return the command that gives a program a network that it can cut."""
    for command in ALONE:
        tried = [*command, "ip", "link", "set", "lo", "up"]
        try:
            if subprocess.run(tried, capture_output=True, check=False).returncode == 0:
                return command
        except FileNotFoundError:
            break
    pytest.skip("needs Linux, `unshare`, `ip`, and leave to make a network namespace")


def test_a_request_given_up_in_a_cut_is_not_delivered_after_it() -> None:
    """Without the bridge's socket options it is: the kernel repeats what nobody acknowledged."""
    program = [*network_of_its_own(), sys.executable, "-m", "support.cut_path", str(CUT)]
    done = subprocess.run(program, cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == sorted(cut_path.BARE)
