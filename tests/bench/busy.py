"""What a steady feed costs: the real process on a real Kafka, with the defaults of its source.

Run by `make busy RATE=200 LATENESS=60 SECONDS=600 PAST=60`: PAST is how many seconds of the same
rate lie behind the start, and are read first. Prints the requests by operation, the passes and
audits that were made, how fresh the events were, and how many of them came late. Fails where the
feed takes more than two requests a second beyond what polls and new events need, or something had
no turn.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from pathlib import Path

from support import brokers
from support.stage import Bridge, Stage

from bridge.clock import SECOND, Clock
from bridge.dev.api.simulator import Simulator

POLL = 2.0
PAGE = 1000
WARM = 60.0


def main(rate: float, lateness: float, seconds: float, past: float) -> int:
    """Read a feed with `rate` events a second for `seconds`; return the exit code."""
    clock, pause = Clock(), threading.Event()
    simulator = Simulator(clock=clock, events=round(rate * past), past=past)
    with tempfile.TemporaryDirectory() as folder, brokers.real() as kafka:
        scene = Stage(kafka, "busy", Path(folder), simulator, None)
        try:
            scene.prepare()
            scene.control("behaviour", {"rate": rate})
            bridge = scene.run(
                "--only",
                "events",
                BRIDGE_API__RATE="10",
                BRIDGE_SOURCE__POLL_INTERVAL=str(POLL),
                BRIDGE_SOURCE__LATENESS=str(lateness),
                BRIDGE_SOURCE__AUDIT_INTERVAL="60",
                BRIDGE_LOG__LEVEL="warning",
            ).ready()
            pause.wait(WARM)
            before, since = figures(bridge), clock.now()
            pause.wait(seconds)
            after, until = figures(bridge), clock.now()
            count = bridge.published
            lines = scene.command(
                "tail", "events", "--json", "--from", "earliest", "--limit", f"{count}"
            )
            assert bridge.stop() == 0
        finally:
            scene.close()
    return report({name: after[name] - before[name] for name in after}, lines, since, until)


def figures(bridge: Bridge) -> dict[str, float]:
    """Return what was counted up to now."""
    metric = bridge.metric
    return {
        "feed": metric("bridge_api_requests_total", operation="list_events"),
        "run lists": metric("bridge_api_requests_total", operation="list_run_events"),
        "shallow": metric("bridge_sweeps_total", kind="shallow"),
        "deep": metric("bridge_sweeps_total", kind="deep"),
        "climb": metric("bridge_sweeps_total", kind="climb"),
        "audited": metric("bridge_runs_audited_total"),
        "sealed": metric("bridge_runs_sealed_total"),
        "published": float(bridge.published),
    }


def report(made: dict[str, float], lines: str, since: int, until: int) -> int:
    """Print what was made within a time; return the exit code."""
    took = (until - since) / SECOND
    events = [json.loads(line) for line in lines.splitlines()]
    waits = sorted(
        (one["value"]["ingested_at"] - one["value"]["timestamp"]) / SECOND
        for one in events
        if since <= one["value"]["timestamp"] < until
    )
    beyond = (made["feed"] - made["published"] / PAGE) / took - 1 / POLL
    fresh = {share: waits[int(len(waits) * share / 100)] for share in (50, 99)}
    each = ", ".join(f"{name} {count:,.0f}" for name, count in made.items())
    print(f"{took:.0f} s: {each}")  # noqa: T201 - a report
    print(  # noqa: T201 - a report
        f"requests a second for the feed: {made['feed'] / took:.2f}, {beyond:.2f} beyond what is "
        f"new; events written after {fresh[50]:.2f} s (p50), {fresh[99]:.2f} s (p99)"
    )
    first = [one["value"]["late"] for one in events if one["value"]["ingested_at"] < since]
    later = [one["value"]["late"] for one in events if one["value"]["ingested_at"] >= since]
    print(  # noqa: T201 - a report
        f"late: {sum(first)} of {len(first)} in the first backfill and until all was warm, "
        f"{sum(later)} of {len(later)} after it"
    )
    return 0 if beyond <= 2 and made["deep"] and made["audited"] and not made["climb"] else 1


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
