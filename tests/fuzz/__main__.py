"""Fuzz for some minutes: `python -m fuzz --minutes 3`, or replay one case."""

import argparse
import itertools
import sys
from collections import Counter

from bridge.clock import Clock
from fuzz.cases import KINDS
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
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
