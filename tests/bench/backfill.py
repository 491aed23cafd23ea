"""Memory and speed while a long feed is backfilled: the real process, a real Kafka.

Run by `make backfill EVENTS=2000000`. Fails if resident memory passes 200 MB, or if it grew by more
than a tenth between the first and the second half.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import brokers
from support.stage import Stage, wait_for

from bridge.clock import Clock
from bridge.dev.api.simulator import Simulator

LIMIT_MB = 200.0
GROWTH = 1.1
HERE = Path(__file__).parent


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process, as /proc shows it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def main(count: int) -> int:
    """Backfill `count` events; return the exit code."""
    with long_feed(count) as url, tempfile.TemporaryDirectory() as folder, brokers.real() as kafka:
        print(f"{kafka.description}; {count:,} events")  # noqa: T201 - a report
        scene = Stage(kafka, "backfill", Path(folder), Simulator(clock=Clock()), None)
        try:
            scene.prepare()
            # Audits of forty thousand finished runs come after; their memory is the run table's.
            first, second = publish(scene, url, count)
        finally:
            scene.close()
    return 0 if max(first, second) < LIMIT_MB and second < GROWTH * first else 1


@contextmanager
def long_feed(count: int) -> Iterator[str]:
    """Serve a list of `count` events in a process of its own; give its base URL."""
    feed = subprocess.Popen(
        [sys.executable, str(HERE / "long_feed.py"), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert feed.stdout is not None
    try:
        yield feed.stdout.readline().strip()
    finally:
        feed.terminate()
        feed.wait(10)


def publish(scene: Stage, url: str, count: int) -> tuple[float, float]:
    """Run the bridge until all is published; return its memory in the two halves, in MB."""
    clock, pause = Clock(), threading.Event()
    bridge = scene.run(
        "--only",
        "events",
        TELNYX_BASE_URL=url,
        BRIDGE_API__RATE="1000",
        BRIDGE_LOG__LEVEL="warning",
    ).ready()
    began = clock.monotonic()
    samples: list[tuple[int, float]] = []
    while not samples or samples[-1][0] < count:
        assert bridge.process.poll() is None, bridge.output
        samples.append((bridge.published, resident_mb(bridge.process.pid)))
        pause.wait(0.5)
    took = clock.monotonic() - began
    first = max(mb for published, mb in samples if published <= count / 2)
    second = max(mb for published, mb in samples if published > count / 2)
    print(  # noqa: T201 - a report
        f"{count / took:,.0f} events/s; resident memory at most {first:.0f} MB up to event "
        f"{count // 2:,} and {second:.0f} MB after it"
    )
    wait_for(lambda: bridge.source()["state"] == "tailing")
    assert bridge.stop() == 0
    return first, second


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
