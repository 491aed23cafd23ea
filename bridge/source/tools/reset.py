"""Lets a source begin anew, at another place."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from bridge.clock import SECOND, Micros, utc
from bridge.errors import ApiError, StateError
from bridge.kafka.producer import Writer
from bridge.source.build import assembled
from bridge.source.checkpoint.position import Configured, Position
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.reading.reader import OTHERWISE
from bridge.source.reading.windows import BEGINNING
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.replacement import Replacement, Stored, last_batch, readable_frontier
from bridge.source.writing.certificate import Proof
from bridge.source.writing.transaction import Committer

Start = Literal["earliest", "latest"] | Micros
"""Where to begin: with everything, with what comes from now on, or at a time."""


async def known(view: SourceAccess) -> Checkpoint | None:
    """Return the checkpoint that a reset would do away with; None if it is refused."""
    try:
        return await view.desk.look()
    except StateError:
        return None


def consequences(there: Checkpoint | None, start: Start) -> list[str]:
    """Say what follows from a reset: what may come twice, and what will not come at all."""
    told = ["it is forgotten which events were published; those on the topic stay there"]
    if start == "latest":
        told.append("nothing comes twice: what the feed shows now is taken for published")
    elif start == "earliest":
        told.append("every event that the API still shows is published, also those that were")
    else:
        told.append(f"every event since {utc(start)} is published, also those that were")
    if there is None:
        told.append("how far the source had come is not known: its checkpoint is refused")
        return told
    frontier, climb = there.position.frontier, there.position.climb
    reached = climb.low if climb is not None else frontier
    if reached is None or reached == BEGINNING:
        told.append("so far nothing is published, or the source has just begun to")
        return told
    if start == "latest":
        told.append(f"what happened since {utc(reached)} and is not published yet never will be")
    elif start == "earliest" or start <= reached:
        told.append(f"so those up to {utc(reached)} come twice; {there.published} are published")
    else:
        told.append(f"what happened from {utc(reached)} to {utc(start)} is never published")
    return told


async def reset(view: SourceAccess, start: Start) -> Checkpoint:
    """Take the source over and let it begin at `start`; return its new checkpoint.

    What is there is refused until the last transaction: a reset that ends early is begun again.
    Raises what the API client raises, KafkaAway, RegistryAway, TransactionLost, Fenced.
    """
    writer = await view.writer(view.settings.transactional_id_source(view.source.name))
    try:
        place = await Replacement.begin(view, writer)
        await place.refuse((f"frontier/{view.source.name}", None))
        await place.write([])
        configured = await _settings(view, place.stored)
        state = await _begin(view, writer, start, configured, last_batch(place.stored))
        await place.end()
    finally:
        await writer.close()
    return state


async def _settings(view: SourceAccess, stored: Stored) -> Configured:
    """Return the settings of the bridge that works on the source, where its frontier tells them."""
    try:
        return view.configured(await readable_frontier(view, stored))
    except StateError:  # another feed's or version's
        return view.configured(None)


async def _begin(
    view: SourceAccess, writer: Writer, start: Start, configured: Configured, batch: int
) -> Checkpoint:
    """Write the records of a source that begins."""
    # Numbers of batches are never used again: headers of events and certificates name them.
    layout = view.desk.layout
    state = Checkpoint(
        view.source.name,
        view.desk.feed,
        partitions=(layout.event_partitions, layout.checkpoint_partitions),
        configured=configured,
        batch=batch,
    )
    if start == "latest":
        return await _begin_at_latest(view, writer, state, configured)
    committer = Committer(
        state,
        publisher=view.publisher,
        writer=writer,
        index=view.index,
        clock=view.clock,
        configured=configured,
    )
    floor = None if start == "earliest" else start
    proof = Proof("shallow", 0, view.clock.now(), BEGINNING, view.lateness(state))
    await committer.commit([], Position(floor=floor, audit_floor=floor), proof)
    return state


async def _begin_at_latest(
    view: SourceAccess, writer: Writer, state: Checkpoint, configured: Configured
) -> Checkpoint:
    """Let the source's own poller decide where that is: its first turn does nothing else."""

    async def nothing_on_topic(_run_id: str, _since: Micros) -> set[bytes] | None:
        return None

    in_use = {name: value / SECOND for name, value in asdict(configured).items()}
    poller = assembled(
        view.source.model_copy(update={"start": "latest", **in_use}),
        client=view.client,
        clock=view.clock,
        checkpoint=state,
        publisher=view.publisher,
        writer=writer,
        on_topic=nothing_on_topic,
        may_go_on=lambda: True,
        timeout=view.settings.api.timeout,
    )
    for _ in range(OTHERWISE):
        await poller.turn()
        if not state.is_new:
            return state
    raise ApiError(f"the feed was served otherwise {OTHERWISE} times", executed=None)
