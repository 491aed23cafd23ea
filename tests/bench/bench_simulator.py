"""How many pages of 1,000 events the simulator serves a second over HTTP on one core.

Run by hand: python tests/bench/bench_simulator.py. The server is a process of its own, bound to one
core where the system allows it; the client here only reads bytes.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

from bridge.clock import Clock

EVENTS = 20_000
SECONDS = 5.0
SERVER = f"""
import json, os
from bridge.dev.api.simulator import run
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {{max(os.sched_getaffinity(0))}})
run(events={EVENTS}, ready=lambda url: print(json.dumps(url), flush=True))
"""


def main() -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = urlsplit(json.loads(server.stdout.readline()))
        assert url.hostname is not None
        connection = http.client.HTTPConnection(url.hostname, url.port or 80)
        pages, size, seconds = measure(connection, url.path)
        connection.close()
    finally:
        server.terminate()
        server.wait(10)
    sys.stdout.write(
        f"{pages / seconds:.0f} pages of 1,000 events a second "
        f"({size / 1000:.0f} kB each, {size * pages / seconds / 1e6:.0f} MB/s, "
        f"{os.cpu_count()} cores in the machine, one for the server)\n"
    )


def measure(connection: http.client.HTTPConnection, base: str) -> tuple[int, int, float]:
    """Read pages in turn; returns how many, their mean size in bytes, and the seconds it took."""
    clock = Clock()
    pages = total = 0
    begin = clock.monotonic()
    while (passed := clock.monotonic() - begin) < SECONDS:
        number = pages % (EVENTS // 1000) + 1
        connection.request(
            "GET",
            f"{base}/ai/missions/events?page[number]={number}&page[size]=1000",
            headers={"Authorization": "Bearer bench"},
        )
        answer = connection.getresponse()
        total += len(answer.read())
        assert answer.status == 200
        pages += 1
    return pages, total // pages, passed


if __name__ == "__main__":
    main()
