"""Rebuilds a checkpoint that is refused or gone, from the topics that were written with it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace

from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.errors import InvalidRecord, StateError
from bridge.kafka.consumer import log_bounds
from bridge.source.checkpoint.records import whole
from bridge.source.checkpoint.state import Checkpoint
from bridge.source.tools import rebuild
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.rebuild import Certificates, RebuiltState
from bridge.source.tools.replacement import (
    Replacement,
    Stored,
    last_batch,
    read_stored,
    readable_frontier,
)
from bridge.source.tools.stored_event import kept


@dataclass(frozen=True, slots=True)
class Repair:
    """A checkpoint made anew, and what it was made from.

    `refused` says why the one before cannot be used (None: there is none), `frontier` is what its
    frontier record says, if that can be read.
    """

    state: Checkpoint
    refused: str | None
    frontier: Checkpoint | None
    certificates: Certificates
    published: RebuiltState


async def repair(view: SourceAccess, *, dry: bool) -> Repair | None:
    """Rebuild the checkpoint of a source and, unless `dry`, write it in place of the one there.

    Returns None where there is nothing to repair: the checkpoint fits together, or nothing was
    ever published. Whoever works on the source is fenced. What is there is refused until the last
    transaction, so a repair that ends early is begun again. Raises StateError for a checkpoint of
    another feed or version, KafkaAway, RegistryAway, TransactionLost, Fenced.
    """
    refused: str | None = None
    try:
        if not (await view.desk.look()).is_new:
            return None
    except StateError as error:
        refused = str(error)
    if dry:
        return await _plan(view, refused, await read_stored(view))
    writer = await view.writer(view.settings.transactional_id_source(view.source.name))
    try:
        place = await Replacement.begin(view, writer)
        made = await _plan(view, refused, place.stored)
        if made is None:
            await place.give_up()
        else:
            # The frontier first: it says where the source began, also to a repair after this one.
            frontier, rest = whole(made.state)
            await place.refuse(frontier)
            await place.write(rest)
            await place.end()
    finally:
        await writer.close()
    return made


async def _plan(view: SourceAccess, refused: str | None, there: Stored) -> Repair | None:
    """Read the topics, and decide what takes the place of what is there."""
    name, feed = view.source.name, view.desk.feed
    layout = view.desk.layout
    frontier = await readable_frontier(view, there)
    keep = view.configured(frontier).lateness_max
    certificates = await _certificates(view)
    began = _began(view, certificates) if frontier is None else frontier.position.audit_floor
    stands = rebuild.position(certificates, frontier, began)
    published = RebuiltState(
        known_from=stands.oldest_read(keep),
        counted_from=stands.counted_from,
    )
    await _read_events(view, published, certificates)
    is_empty = all(key.startswith("claim/") for _, key in there)
    if is_empty and certificates.newest is None and not published.count:
        return None
    if began is None and frontier is None and view.source.start == "latest":
        # Nothing says when it began: not after the oldest event that it published.
        stands = replace(stands, floor=published.oldest, audit_floor=published.oldest)
    known = Checkpoint(name, feed) if frontier is None else frontier
    newest = certificates.newest
    batch, sweep = (0, 0) if newest is None else (newest["batch"], newest["sweep"]["number"])
    known = replace(
        known,
        partitions=(layout.event_partitions, layout.checkpoint_partitions),
        batch=max(known.batch, batch, last_batch(there)),
        sweep=max(known.sweep, sweep),
        configured=view.configured(frontier),
    )
    state = rebuild.rebuild(known, stands, published, keep=keep, now=view.clock.now())
    return Repair(state, refused, frontier, certificates, published)


async def _certificates(view: SourceAccess) -> Certificates:
    topic, found = view.desk.layout.audit, Certificates()
    async with aclosing(view.records(topic, (0,))) as records:
        async for record in records:
            try:
                told = await view.desk.codec.decode(f"{topic}-value", record.value)
            except InvalidRecord:
                continue  # anyone may write there; what is not ours proves nothing
            if told["source"] == view.source.name:
                found.take(told)
    return found


def _began(view: SourceAccess, certificates: Certificates) -> Micros | None:
    """Return the time below which the source publishes nothing, by its settings; None: all."""
    start = view.source.start
    if isinstance(start, int):
        return start
    if start == "earliest" or certificates.first is None:
        return None
    first: Micros | None = certificates.first["sweep"]["frontier"]
    return None if first is None else first + 1


async def _read_events(
    view: SourceAccess, published: RebuiltState, certificates: Certificates
) -> None:
    layout = view.desk.layout
    newest = certificates.newest
    latest = view.clock.now() if newest is None else newest["at"]
    ats = [TopicPartition(layout.events, number) for number in range(layout.event_partitions)]
    for at in [*ats, TopicPartition(layout.dead_letters, 0)]:
        begin, _ = await log_bounds(view.desk.kafka, at, timeout=view.patience)
        if begin:
            published.reaches_back[at.topic, at.partition] = latest
        first = True
        async with aclosing(view.records(at.topic, (at.partition,))) as records:
            async for record in records:
                if first and begin:
                    published.reaches_back[at.topic, at.partition] = record.timestamp * 1000
                first = False
                one = await kept(view.desk.codec, f"{layout.events}-value", record)
                if one is not None and not one.replay and one.source in (None, view.source.name):
                    published.take(one)
