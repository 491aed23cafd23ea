"""What an event is known by: digests of its ids, and ids short enough for the checkpoint. Pure."""

from __future__ import annotations

import hashlib
import sys
from typing import Final

LONGEST_RUN_ID: Final = 64
"""Bytes of a run's id in the checkpoint at most, so that its records stay below Kafka's limit."""


def short_run(run_id: str) -> str:
    """Return a run's id, or a digest of one so long that it would swell the records.

    Interned, as every table of runs has the same ones.
    """
    raw = run_id.encode("utf-8", "surrogatepass")
    return sys.intern(run_id if len(raw) <= LONGEST_RUN_ID else hashlib.sha256(raw).hexdigest())


def digest(run_id: str, event_id: str) -> bytes:
    """Return the 16 bytes that stand for an event; lengths first, so that no two pairs collide."""
    run = run_id.encode("utf-8", "surrogatepass")
    event = event_id.encode("utf-8", "surrogatepass")
    sized = len(run).to_bytes(8, "big") + run + len(event).to_bytes(8, "big") + event
    return hashlib.blake2b(sized, digest_size=16).digest()
