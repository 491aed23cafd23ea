"""Memory and speed of the tools on a long feed: the real commands, a real Kafka.

Run by `make audit-bench EVENTS=1000000`. Fails if `audit` or `repair` passes 1 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from backfill import long_feed, publish
from support import brokers
from support.kafka import Sent, write_topic
from support.stage import COMMAND, Stage

from bridge.clock import Clock
from bridge.dev.api.simulator import Simulator

LIMIT_MB = 1000.0


def main(count: int) -> int:
    """Publish `count` events, audit them, lose the checkpoint, repair it; return the exit code."""
    with long_feed(count) as url, tempfile.TemporaryDirectory() as folder, brokers.real() as kafka:
        print(f"{kafka.description}; {count:,} events")  # noqa: T201 - a report
        scene = Stage(kafka, "audit", Path(folder), Simulator(clock=Clock()), None)
        try:
            scene.prepare()
            publish(scene, url, count)
            report, audited = measure(scene, url, "audit")
            ok = (report["shown"], report["records"], report["differences"]) == (count, count, [])
            write_topic(kafka.address, "audit.checkpoint", [Sent(b"frontier/default", None)])
            report, repaired = measure(scene, url, "repair")
            ok = ok and report["events"] == count
        finally:
            scene.close()
    return 0 if ok and max(audited, repaired) < LIMIT_MB else 1


def measure(scene: Stage, url: str, command: str) -> tuple[Any, float]:
    """Run a command; print what it took, return what it wrote and its memory in MB."""
    clock = Clock()
    began = clock.monotonic()
    process = subprocess.Popen(
        [COMMAND, command, "--json"],
        env=scene.env(TELNYX_BASE_URL=url, BRIDGE_API__RATE="1000"),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    written = process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    megabytes = usage.ru_maxrss / 1024
    took = clock.monotonic() - began
    print(f"{command}: {took:.0f} s, at most {megabytes:.0f} MB")  # noqa: T201 - a report
    return json.loads(written), megabytes


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
