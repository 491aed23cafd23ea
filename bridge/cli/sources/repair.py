"""`mission-bridge repair`: a checkpoint that is refused, rebuilt from the topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from bridge.avro.codec import Codec
from bridge.avro.subjects import subject_of, subjects
from bridge.cli.shared import Config, Json, load, open_registry, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import Clock, utc
from bridge.commands.ledger.mending import Mended, Mender
from bridge.config.models import Settings, SourceSettings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK
from bridge.kafka.client import KafkaClient
from bridge.kafka.topic_reader import find_topic
from bridge.source.reading.windows import BEGINNING
from bridge.source.tools.repair import Repair
from bridge.source.tools.repair import repair as rebuild


def repair(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="Mend the ledger of commands, not a checkpoint.")
    ] = False,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Rebuild a source's checkpoint from its events, dead letters and certificates.

    For a checkpoint that `run` refuses, or one that is gone. Whoever works on the source is put
    out; what the topics no longer hold is said. Afterwards `run` goes on where the source was.

    With --ledger: where somebody else wrote to the ledger of commands, put back what the bridge
    wrote last, as far as the log still has it.
    """
    settings = load(config, "kafka", "registry")
    if ledger:
        return asyncio.run(_mend(settings, dry=dry_run, as_json=as_json))
    chosen = one_source.chosen(settings, source)
    made = asyncio.run(_repair(settings, chosen, dry=dry_run))
    if as_json:
        say_json({"source": chosen.name, "dry_run": dry_run, **_as_object(made)})
    elif made is None:
        say(f"source {chosen.name}: nothing to repair: `run` can use the checkpoint")
    else:
        for line in _lines(chosen, made):
            say(line)
        say("dry run: nothing was written" if dry_run else "repaired: `run` goes on from it")
    return EXIT_OK


async def _mend(settings: Settings, *, dry: bool, as_json: bool) -> int:
    """Mend the ledger of every partition; exit 1 if a key is left that cannot be mended."""
    kafka, registry, mended = (
        KafkaClient(settings.kafka),
        open_registry(settings.registry),
        Mended(),
    )
    try:
        codec = Codec(registry)
        prefix = settings.kafka.topic_prefix
        subject = subject_of(prefix, "command-state")
        await codec.prepare(subject, subjects(prefix)[subject].schema)
        mender = Mender(settings, kafka, codec, Clock())
        for at in await find_topic(kafka, settings.topic("command-state")):
            await mender.mend(at.partition, mended, dry=dry)
    finally:
        await registry.aclose()
    back = [{"partition": n, "key": key, "kind": kind} for (n, key), kind in mended.back.items()]
    lost = [{"partition": n, "key": key, "do": _left_to_do(key)} for n, key in mended.lost]
    if as_json:
        say_json({"dry_run": dry, "put_back": back, "not_mended": lost})
    else:
        for one in back:
            say(f"partition {one['partition']}, key {one['key']!r}: put back: {one['kind']}")
        for one in lost:
            place = f"partition {one['partition']}, key {one['key']!r}"
            say(f"{place}: compaction has removed what the bridge wrote. {one['do']}")
        say("dry run: nothing was written" if dry else f"{len(back)} records were put back")
    return EXIT_DIFFERENCE if lost else EXIT_OK


def _left_to_do(key: str) -> str:
    """Say what a person can do about a key of the ledger of which the log has nothing else."""
    if key.startswith("pos/"):
        return (
            "A null value under it lets the partition be read from BRIDGE_COMMANDS__START on; what "
            "the ledger remembers is not done again"
        )
    return (
        f"If no command had this id, write a null value under it. If one had, `mission-bridge why "
        f"{key}` shows its results: with a null value it is carried out again if it is read again"
    )


async def _repair(settings: Settings, source: SourceSettings, *, dry: bool) -> Repair | None:
    async with one_source.view(settings, source) as view:
        return await rebuild(view, dry=dry)


def _as_object(made: Repair | None) -> dict[str, Any]:
    if made is None:
        return {"needed": False}
    state, newest = made.state, made.certificates.newest
    position = state.position
    return {
        "needed": True,
        "refused": made.refused,
        "certificate": None if newest is None else newest["sweep"]["number"],
        "frontier_read": made.frontier is not None,
        "frontier": position.frontier,
        "climb": one_source.climb_object(position.climb),
        "kept_from": position.kept_from,
        "floor": position.floor,
        "events": made.published.count,
        "runs": len(state.runs),
        "digests": len(state.seen),
        "batch": state.batch,
        "reaches_back": [
            {"topic": topic, "partition": partition, "since": since}
            for (topic, partition), since in made.published.reaches_back.items()
        ],
    }


def _lines(source: SourceSettings, made: Repair) -> Iterator[str]:
    """Say what was found, what was made of it, and what cannot be known."""
    state, published = made.state, made.published
    yield made.refused or f"source {source.name} has no checkpoint"
    yield f"  stands at: {_stands_at(made)}"
    yield f"  published: {published.count} events, dead letters included, of {len(state.runs)} runs"
    since = state.position.kept_from
    kept = "all of them" if since is None else f"those from {utc(since)} on"
    yield f"  remembered one by one: {len(state.seen)}, {kept}"
    began = state.position.audit_floor
    if began is not None:
        how = "its frontier record" if made.frontier else f"BRIDGE_SOURCE__START={source.start}"
        yield f"  began at: {utc(began)}, by {how}; nothing older is published at all"
    for (topic, partition), at in published.reaches_back.items():
        yield (
            f"  not known: what {topic}-{partition} held before {utc(at)}, when it was deleted by "
            "retention; events that happened before that are taken for published"
        )


def _stands_at(made: Repair) -> str:
    position, newest = made.state.position, made.certificates.newest
    if newest is not None:
        by = f"by the certificate of sweep {newest['sweep']['number']}, {utc(newest['at'])}"
    elif made.frontier is not None:
        by = "by its frontier record: no certificate is left"
    else:
        by = "nothing says how far it came: all is read again, and what is on the topic is left out"
    if position.climb is not None:
        low = position.climb.low
        height = "the end of the feed" if low == BEGINNING else utc(low)
        return f"a climb at {height}, {by}"
    if position.frontier is None:
        return f"the beginning, {by}"
    return f"frontier {utc(position.frontier)}, {by}"
