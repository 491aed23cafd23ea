"""Rebuilds a checkpoint that is refused or gone, from the topics that were written with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from typing import Final

from aiokafka import TopicPartition

from bridge.clock import Micros
from bridge.errors import InvalidRecord, StateError
from bridge.kafka.consumer import Received, log_bounds
from bridge.kafka.producer import Record, Writer
from bridge.source import rebuilt
from bridge.source.checkpoint import NO_CHAIN, Checkpoint
from bridge.source.checkpoint_records import Record as StateRecord
from bridge.source.checkpoint_records import concerns, read_frontier, segment_record, whole
from bridge.source.kept import kept
from bridge.source.rebuilt import Certificates, Published
from bridge.source.segment import Segment
from bridge.source.view import View

GUARD: Final = 0
"""Number of a segment that no frontier speaks of: while it is there the checkpoint is refused."""

AT_ONCE: Final = 2_000_000
"""Bytes of records in one transaction, about."""


@dataclass(frozen=True, slots=True)
class Repair:
    """A checkpoint made anew from what was found, and the keys that it takes the place of.

    `refused` says why the one before cannot be used (None: there is none), `frontier` is what its
    frontier record says, if that can be read.
    """

    state: Checkpoint
    refused: str | None
    frontier: Checkpoint | None
    certificates: Certificates
    published: Published
    stored: Set[str]


async def repair(view: View, *, dry: bool) -> Repair | None:
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
        return await _plan(view, refused)
    writer = await view.writer(view.settings.transactional_id_source(view.source.name))
    try:
        claim = await view.desk.claim(writer, view.publisher)
        made = await _plan(view, refused, until=lambda record: record.key == claim)
        if made is not None:
            await _write(view, writer, made)
        else:
            await writer.commit([view.publisher.state(claim.decode(), None)])
    finally:
        await writer.close()
    return made


async def _plan(
    view: View, refused: str | None, until: Callable[[Received], bool] | None = None
) -> Repair | None:
    """Read what there is, once the claim is seen that ends before `until`, and decide."""
    name, feed = view.source.name, view.desk.feed
    every = await view.desk.stored(until=until)
    stored = {key: value for key, value in every.items() if concerns(name, key)}
    frontier = await _frontier(view, stored.get(f"frontier/{name}"))
    certificates = await _certificates(view)
    began = _began(view, certificates) if frontier is None else frontier.position.audit_floor
    stands = rebuilt.position(certificates, frontier, began)
    published = Published(
        known_from=stands.oldest_read(view.lateness_max),
        counted_from=stands.counted_from,
    )
    await _read_events(view, published, certificates)
    is_empty = all(key.startswith("claim/") for key in stored)
    if is_empty and certificates.newest is None and not published.count:
        return None
    if began is None and frontier is None and view.source.start == "latest":
        # Nothing says when it began: not after the oldest event that it published.
        stands = replace(stands, floor=published.oldest, audit_floor=published.oldest)
    known = Checkpoint(name, feed) if frontier is None else frontier
    newest = certificates.newest
    numbers = [known.batch, 0 if newest is None else newest["batch"], *_batches(stored)]
    sweep = max(known.sweep, 0 if newest is None else newest["sweep"]["number"])
    known = replace(known, batch=max(numbers), sweep=sweep)
    state = rebuilt.rebuild(known, stands, published, keep=view.lateness_max, now=view.clock.now())
    return Repair(state, refused, frontier, certificates, published, stored.keys())


def _batches(stored: Iterable[str]) -> Iterator[int]:
    """Yield the numbers of the segments that are stored."""
    for key in stored:
        kind, _, number = key.rpartition("/")
        if kind.startswith("seg/") and number.isdecimal():
            yield int(number)


async def _frontier(view: View, value: bytes | None) -> Checkpoint | None:
    """Return what the frontier record says; None if it cannot be read."""
    if value is None:
        return None
    try:
        decoded = await view.desk.codec.decode(f"{view.desk.layout.checkpoint}-value", value)
    except InvalidRecord:
        return None
    if not decoded["body"][0].endswith(".Frontier"):
        return None
    return read_frontier(view.source.name, view.desk.feed, decoded)


async def _certificates(view: View) -> Certificates:
    topic, found = view.desk.layout.audit, Certificates()
    async for record in view.records(topic, 1):
        try:
            told = await view.desk.codec.decode(f"{topic}-value", record.value)
        except InvalidRecord:
            continue  # anyone may write there; what is not ours proves nothing
        if told["source"] == view.source.name:
            found.take(told)
    return found


def _began(view: View, certificates: Certificates) -> Micros | None:
    """Return the time below which the source publishes nothing, by its settings; None: all."""
    start = view.source.start
    if isinstance(start, int):
        return start
    if start == "earliest" or certificates.first is None:
        return None
    first: Micros | None = certificates.first["sweep"]["frontier"]
    return None if first is None else first + 1


async def _read_events(view: View, published: Published, certificates: Certificates) -> None:
    layout = view.desk.layout
    newest = certificates.newest
    latest = view.clock.now() if newest is None else newest["at"]
    ats = [TopicPartition(layout.events, number) for number in range(layout.event_partitions)]
    for at in [*ats, TopicPartition(layout.dead_letters, 0)]:
        begin, _ = await log_bounds(view.desk.kafka, at, timeout=view.patience)
        if begin:
            published.reaches_back[at.topic, at.partition] = latest
        first = True
        async for record in view.partition(at.topic, at.partition):
            if first and begin:
                published.reaches_back[at.topic, at.partition] = record.timestamp * 1000
            first = False
            one = await kept(view.desk.codec, f"{layout.events}-value", record)
            if one is not None and not one.replay and one.source in (None, view.source.name):
                published.take(one)


async def _write(view: View, writer: Writer, made: Repair) -> None:
    """Put the new records in place of the old ones."""
    name = view.source.name
    frontier, rest = whole(made.state)
    guard = segment_record(name, Segment.pack(NO_CHAIN, GUARD, [], 0))
    kept_keys = {guard[0], frontier[0], *(key for key, _ in rest)}
    claims = {key for key in made.stored if key.startswith("claim/")}
    old = sorted(made.stored - kept_keys - claims)
    # The frontier first: it says where the source began, also to a repair that follows this one.
    await writer.commit([*_records(view, [guard, frontier])])
    for part in _parts(_records(view, [*rest, *((key, None) for key in old)])):
        await writer.commit(part)
    await writer.commit([*_records(view, [(guard[0], None), *((key, None) for key in claims)])])


def _records(view: View, state: Iterable[StateRecord]) -> Iterator[Record]:
    publisher, subject = view.publisher, f"{view.desk.layout.checkpoint}-value"
    for key, value in state:
        encoded = None if value is None else view.desk.codec.encode(subject, value)
        yield publisher.state(key, encoded)


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    part: list[Record] = []
    size = 0
    for record in records:
        part.append(record)
        size += record.size
        if size >= AT_ONCE:
            yield part
            part, size = [], 0
    if part:
        yield part
