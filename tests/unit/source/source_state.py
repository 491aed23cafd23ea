"""A source's memory on a topic: what it writes, and what is read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from source_codec import CHECKPOINT, CODEC, decode
from source_lists import item

from bridge.clock import Micros
from bridge.source.checkpoint.records import read_back, records
from bridge.source.checkpoint.state import Batch, Checkpoint
from bridge.source.reading.windows import BEGINNING, Item

FEED = "0123456789abcdef"


class Topic:
    """The newest records of one source by key, as bytes."""

    def __init__(self) -> None:
        self.live: dict[str, bytes] = {}

    def commit(self, state: Checkpoint, batch: Batch) -> None:
        """Write a batch's records, then let the state take it over."""
        for key, value in records(state, batch):
            if value is None:
                self.live.pop(key, None)
            else:
                self.live[key] = CODEC.encode(CHECKPOINT, value)
        state.apply(batch)

    def values(self) -> dict[str, dict[str, Any]]:
        return {key: decode(CHECKPOINT, value) for key, value in self.live.items()}

    def read(self, feed: str = FEED) -> Checkpoint:
        return read_back("default", feed, self.values())


def plan(
    state: Checkpoint,
    items: list[Item],
    *,
    keep: Micros = BEGINNING,
    server_time: Micros = 10**9,
    publish: bool = True,
    **position: Any,
) -> Batch:
    """Plan a batch; what is said of the position is added to the present one."""
    now = state.position
    then = replace(now, **position)
    made = (lambda _: True) if publish else None
    return state.plan(items, then, server_time=server_time, keep=keep, publish=made)


def filled(batches: int = 3) -> tuple[Checkpoint, Topic]:
    """Return a state with so many segments of three events each, and its topic."""
    state, topic = Checkpoint("default", FEED), Topic()
    for number in range(batches):
        events = [item(3 * number + n, run_id=f"run-{n}") for n in range(3)]
        topic.commit(state, plan(state, events, frontier=3 * number + 2))
    return state, topic


def fresh(batch: Batch) -> list[int]:
    return [int.from_bytes(one.item.digest, "big") for one in batch.fresh]
