"""Fuzz for some minutes: `python -m fuzz --minutes 3`, or replay one case."""

import argparse
import itertools
import sys
import traceback
from collections import Counter

from bridge.clock import Clock
from fuzz.cases import KINDS
from fuzz.live import playing
from fuzz.running import play

_FIRST = 1_000_000
"""Seeds below are those of the test suite."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--replay", nargs=2, metavar=("KIND", "SEED"))
    given = parser.parse_args()
    if given.replay:
        failure = play(given.replay[0], int(given.replay[1]))
        sys.stdout.write(f"{failure or 'well'}\n")
        return failure is not None
    clock = Clock()
    end = clock.monotonic() + given.minutes * 60
    broken = _live(clock, (clock.monotonic() + end) / 2)
    played, failed = Counter[str](), Counter[str]()
    for seed in itertools.count(_FIRST):
        for kind in KINDS:
            failure = play(kind, seed)
            played[kind] += 1
            if failure:
                failed[kind] += 1
                sys.stdout.write(f"{kind} {seed}\n{failure}\n")
        if clock.monotonic() >= end:
            break
    for kind in KINDS:
        sys.stdout.write(f"{kind:10} {played[kind]:8} cases {failed[kind]:5} failures\n")
    return bool(failed) or broken


def _live(clock: Clock, end: float) -> bool:
    """Play rounds on a running bridge until `end`, print what it went through."""
    seed = round(clock.now())
    try:
        with playing(seed) as live:
            while clock.monotonic() < end:
                live.round()
            counts = ", ".join(f"{count} {what}" for what, count in live.told.items())
            sys.stdout.write(
                f"a running bridge: {counts}; {live.memory} MiB at most, slowest /livez "
                f"{live.slowest:.2f} s, 0 failures\n"
            )
    except Exception:  # noqa: BLE001 - whatever it is, it is the finding
        sys.stdout.write(f"a running bridge, seed {seed}\n{traceback.format_exc()}\n")
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
