"""A source's memory on a topic: what it writes, and what is read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from source_codec import CHECKPOINT, CODEC, decode
from source_lists import item

from bridge.clock import Micros
from bridge.source.checkpoint.position import Position
from bridge.source.checkpoint.records import read_back, records
from bridge.source.checkpoint.state import Batch, Checkpoint, Fresh
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
    return planned(state, items, then, server_time=server_time, keep=keep, publish=publish)


def planned(
    state: Checkpoint,
    items: Sequence[Item],
    position: Position,
    *,
    broken: Sequence[Item] = (),
    publish: bool = True,
    **options: Any,
) -> Batch:
    """Plan a batch with what is new among `items`; of these `broken` become dead letters."""
    new = state.new(items, position, proven=not publish)
    fresh: list[Fresh] = []
    newest: dict[str, Micros] = {}
    for one in new if publish else ():
        before = newest.get(one.run_id, state.newest(one.run_id, {}))
        newest[one.run_id] = before if one in broken else max(before, one.at)
        fresh.append(Fresh(one, before > one.at, one not in broken))
    return state.plan(new, fresh, position, **options)


def filled(batches: int = 3) -> tuple[Checkpoint, Topic]:
    """Return a state with so many segments of three events each, and its topic."""
    state, topic = Checkpoint("default", FEED), Topic()
    for number in range(batches):
        events = [item(3 * number + n, run_id=f"run-{n}") for n in range(3)]
        topic.commit(state, plan(state, events, frontier=3 * number + 2))
    return state, topic


def fresh(batch: Batch) -> list[int]:
    return [int.from_bytes(one.item.digest, "big") for one in batch.fresh]
