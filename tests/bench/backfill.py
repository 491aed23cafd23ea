"""Memory and speed while a long feed is backfilled: the real process, a real Kafka.

Run by `make backfill EVENTS=2000000`. Fails if resident memory passes 200 MB, or if it grew by more
than a tenth between the first and the second half. `make profile` has py-spy look on, and names the
functions in which the time is spent.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
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


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(count: int, profile: Path | None) -> int:
    """Backfill `count` events; return the exit code. `profile`: where the stacks are written."""
    with long_feed(count) as url, tempfile.TemporaryDirectory() as folder, brokers.real() as kafka:
        print(f"{kafka.description}; {count:,} events")  # noqa: T201 - a report
        scene = Stage(kafka, "backfill", Path(folder), Simulator(clock=Clock()), None)
        try:
            scene.prepare()
            # Audits of forty thousand finished runs come after; their memory is the run table's.
            first, second = publish(scene, url, count, profile)
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


@contextmanager
def watched(pid: int, file: Path) -> Iterator[None]:
    """Have py-spy count stacks of a process; write them to a file and print the top of them."""
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid)]
    options = ["--format", "raw", "--output", str(file), "--native", "--rate", "200"]
    spy = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        spy.wait(60)
    print(top(file.read_text()))  # noqa: T201 - a report


def top(stacks: str, most: int = 40) -> str:
    """Return in which functions the time was spent: with what they call, and in themselves."""
    whole: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        whole.update(dict.fromkeys(frames, int(count)))
    total = own.total() or 1
    rows = (
        f"{n / total:7.1%} {own[name] / total:7.1%} {name}" for name, n in whole.most_common(most)
    )
    return "\n".join(["  whole    own function", *rows])


def publish(scene: Stage, url: str, count: int, profile: Path | None = None) -> tuple[float, float]:
    """Run the bridge until all is published; return its memory in the two halves, in MB."""
    clock, pause = Clock(), threading.Event()
    bridge = scene.run(
        "--only",
        "events",
        TELNYX_BASE_URL=url,
        BRIDGE_API__RATE="1000",
        BRIDGE_LOG__LEVEL="warning",
    ).ready()
    pid = bridge.process.pid
    began, used = clock.monotonic(), cpu_seconds(pid)
    samples: list[tuple[int, float]] = []
    with nullcontext() if profile is None else watched(pid, profile):
        while not samples or samples[-1][0] < count:
            assert bridge.process.poll() is None, bridge.output
            samples.append((bridge.published, resident_mb(pid)))
            pause.wait(0.5)
    took, used = clock.monotonic() - began, cpu_seconds(pid) - used
    first = max(mb for published, mb in samples if published <= count / 2)
    second = max(mb for published, mb in samples if published > count / 2)
    print(  # noqa: T201 - a report
        f"{count / took:,.0f} events/s, {used / count * 1e6:.1f} us of CPU an event; resident "
        f"memory at most {first:.0f} MB up to event {count // 2:,} and {second:.0f} MB after it"
    )
    wait_for(lambda: bridge.source()["state"] == "tailing")
    assert bridge.stop() == 0
    return first, second


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("events", type=int)
    parser.add_argument("--profile", type=Path)
    given = parser.parse_args()
    sys.exit(main(given.events, given.profile))
