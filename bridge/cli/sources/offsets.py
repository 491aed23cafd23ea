"""`mission-bridge offsets`: where sources stand, events once more, and beginning anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

import typer

from bridge.cli.shared import Config, Json, load, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import Micros, utc
from bridge.config.models import Settings, SourceSettings
from bridge.errors import EXIT_CONFIG, EXIT_OK, StateError
from bridge.kafka.topic_reader import find_topic, open_topic
from bridge.source.checkpoint.runs import Stage
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.move import Move, survey
from bridge.source.tools.move import move as take_over
from bridge.source.tools.reset import Start, consequences, known
from bridge.source.tools.reset import reset as begin_anew
from bridge.source.tools.rewind import Replayed, Stretch, locate, replay

group = typer.Typer(no_args_is_help=True, help="Where sources stand, and moving them.")

_TIMES = {
    "complete_until": ("complete until", "not known yet"),
    "frontier": ("frontier", "no sweep is over yet"),
    "floor": ("began at", "the oldest event"),
    "kept_from": ("remembers from", "the oldest event"),
}


@group.command()
def show(*, config: Config = None, as_json: Json = False) -> int:
    """Show the position of each source and the ends of the events' topic; changes nothing.

    Up to `complete until` all that the API shows is published; the frontier is that and the
    lateness window. Events before `began at` are never published; those before `remembers from` are
    not told from new ones any more, and only audits of their runs look at them. A hole is usual
    after the first start, until each run's own list was read.
    """
    settings = load(config, "kafka", "registry")
    sources, partitions = asyncio.run(_show(settings))
    if as_json:
        say_json({"sources": sources, "topic": settings.topic("events"), "partitions": partitions})
    else:
        for source in sources:
            for line in _lines(source):
                say(line)
        for one in partitions:
            place = f"{settings.topic('events')}-{one['partition']}"
            say(f"{place}: offsets {one['begin']} to {one['end']}")
    return EXIT_CONFIG if any("refused" in source for source in sources) else EXIT_OK


async def _show(settings: Settings) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    sources = []
    for source in settings.sources:
        async with one_source.view(settings, source) as view:
            sources.append(await _stands_at(view))
            async with open_topic(view.desk.kafka, view.desk.layout.events) as reader:
                begins, ends = await reader.starts(), await reader.ends()
    partitions = [
        {"partition": at.partition, "begin": begins[at], "end": end} for at, end in ends.items()
    ]
    return sources, partitions


async def _stands_at(view: SourceAccess) -> dict[str, Any]:
    """Return where a source stands; times in microseconds UTC."""
    try:
        checkpoint = await view.desk.look()
    except StateError as error:
        return {"name": view.source.name, "refused": str(error)}
    position, lateness = checkpoint.position, view.lateness(checkpoint)
    hole = position.hole
    stages = [one.stage for one in checkpoint.runs.values()]
    return {
        "name": view.source.name,
        "account": checkpoint.account,
        "frontier": position.frontier,
        "complete_until": position.complete_until(lateness),
        "climb": one_source.climb_object(position.climb),
        "floor": position.floor,
        "kept_from": position.kept_from,
        "hole": None if hole is None else {"low": hole.low or None, "high": hole.high},
        "lateness": lateness,
        "published": checkpoint.published,
        "late": checkpoint.late,
        "batch": checkpoint.batch,
        "sweep": checkpoint.sweep,
        "remembered": len(checkpoint.seen),
        "runs": {stage: stages.count(stage) for stage in get_args(Stage)},
    }


def _lines(source: Mapping[str, Any]) -> Iterator[str]:
    yield f"source {source['name']}"
    if "refused" in source:
        yield f"  {source['refused']}"
        return
    for name, (words, none) in _TIMES.items():
        yield f"  {words:<15} {none if source[name] is None else utc(source[name])}"
    if climb := source["climb"]:
        height = "nothing yet" if climb["low"] is None else f"up to {utc(climb['low'])}"
        yield f"  {'climb':<15} reads what there was at {utc(climb['began'])}: {height}"
    if hole := source["hole"]:
        low = "the beginning" if hole["low"] is None else utc(hole["low"])
        high = "now" if hole["high"] is None else utc(hole["high"])
        why = "the runs' own lists are being read, as the feed may have lost events"
        yield f"  {'hole':<15} from {low} to {high}: {why}"
    yield f"  {'lateness':<15} {source['lateness'] / 1e6:g} s"
    yield f"  {'published':<15} {source['published']}, {source['late']} of them late"
    yield f"  {'batch, sweep':<15} {source['batch']}, {source['sweep']}"
    runs = ", ".join(f"{count} {stage}" for stage, count in source["runs"].items())
    yield f"  {'remembered':<15} {source['remembered']} events, runs: {runs}"


@group.command()
def rewind(
    *,
    to: Annotated[str, typer.Option("--to", metavar="TIMESTAMP", help="The oldest event.")],
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another topic, which exists already.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many events it is, on which pages.")
    ] = False,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Write the events since a time once more, marked by the header bridge_replay_id.

    They are read from the API. No position is changed, and a bridge that runs goes on.
    """
    low = one_source.timestamp("--to", to)
    settings = load(config, "api", "kafka", "registry")
    chosen = one_source.chosen(settings, source)
    if dry_run:
        found = asyncio.run(_locate(settings, chosen, low))
        _tell_stretch(found, low, as_json=as_json)
        return EXIT_OK
    done = asyncio.run(_replay(settings, chosen, low, topic or "events"))
    if as_json:
        say_json({"replay_id": done.replay_id, "events": done.events, "left_out": done.dead})
    else:
        say(f"{done.events} events written once more, {_marked(done)}")
    return EXIT_OK


async def _locate(settings: Settings, source: SourceSettings, low: Micros) -> Stretch:
    async with one_source.view(settings, source) as view:
        return await locate(view, low)


async def _replay(settings: Settings, source: SourceSettings, low: Micros, topic: str) -> Replayed:
    def tell(done: Replayed) -> None:
        until = "" if done.until is None else f" up to {utc(done.until)}"
        say(f"replay {done.replay_id}: {done.events} events{until}", err=True)

    async with one_source.view(settings, source) as view:
        partitions = await find_topic(view.desk.kafka, settings.topic(topic), topic)
        return await replay(view, low, partitions, tell)


def _marked(done: Replayed) -> str:
    left = f"; {done.dead} cannot be converted and were left out" if done.dead else ""
    return f"with header bridge_replay_id {done.replay_id}{left}"


def _tell_stretch(found: Stretch, low: Micros, *, as_json: bool) -> None:
    if as_json:
        where = {"size": found.size, "first": found.first_page, "last": found.last_page}
        say_json({"since": low, "events": found.events, "pages": where})
        return
    pages = f"pages {found.first_page} to {found.last_page}, {found.size} events a page"
    say(f"{found.events} events since {utc(low)}, {pages if found.events else 'no page'}")
    if found.linked is None:
        say("the list is not sorted: all of it was read")
    else:
        end = f"page {found.linked.page}, {found.linked.size} events a page"
        say(f"found with {found.requests} requests; they end on {end}")
    say("dry run: nothing was written")


@group.command()
def reset(
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="POSITION", help="earliest, latest or a timestamp.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, say what follows.")] = False,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Let a source begin anew elsewhere; says what may come twice, and asks for --yes.

    Whoever works on the source is put out, and goes on from there once it has it back.
    """
    start: Start
    match to:
        case "earliest" | "latest":
            start = to
        case _:
            start = one_source.timestamp("--to, unless earliest or latest,", to)
    settings = load(config, "api", "kafka", "registry")
    chosen = one_source.chosen(settings, source)
    told = asyncio.run(_reset(settings, chosen, start, yes=yes))
    if as_json:
        say_json({"source": chosen.name, "to": start, "done": yes, "follows": told})
    else:
        for line in (f"source {chosen.name}", *told):
            say(line)
        if yes:
            say("done")
    if not yes:
        raise typer.BadParameter("nothing was changed: --yes does it")
    return EXIT_OK


async def _reset(
    settings: Settings, source: SourceSettings, start: Start, *, yes: bool
) -> list[str]:
    """Say what follows, and do it if asked to."""
    async with one_source.view(settings, source) as view:
        told = consequences(await known(view), start)
        if yes:
            await begin_anew(view, start)
    return told


@group.command()
def move(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, say what follows.")] = False,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Take a checkpoint over to the TELNYX_BASE_URL that is set: a new address, the same account.

    What is published and remembered stays. Where `run` can see whose the account's runs are, it
    does this by itself. Refused while a bridge works on the source, and for another account.
    """
    settings = load(config, "api", "kafka", "registry")
    chosen = one_source.chosen(settings, source)
    found = asyncio.run(_move(settings, chosen, yes=yes))
    if as_json:
        say_json(
            {
                "source": chosen.name,
                "to": settings.api.base_url,
                "needed": found.needed,
                "done": yes and found.needed,
                "published": found.there.published,
                "feed_shows": found.shows,
                "of_them_known": found.known,
            }
        )
    else:
        for line in _of_move(found, chosen.name, settings.api.base_url):
            say(line)
        if yes and found.needed:
            say("done: `run` goes on from it")
    if found.needed and not yes:
        raise typer.BadParameter("nothing was changed: --yes does it")
    return EXIT_OK


async def _move(settings: Settings, source: SourceSettings, *, yes: bool) -> Move:
    """Say what follows, and do it if asked to."""
    async with one_source.view(settings, source) as view:
        found = await survey(view)
        if yes and found.needed:
            await take_over(view)
        return found


def _of_move(found: Move, name: str, url: str) -> Iterator[str]:
    yield f"source {name}, {found.there.published} events published"
    if not found.needed:
        yield f"its checkpoint is of {url} already: nothing to move"
        return
    yield f"its checkpoint is of another address, and goes on at {url}; what it remembers stays"
    if found.known is None:
        yield "it does not fit together: `mission-bridge repair` mends that after the move"
    elif found.known or not found.shows:
        yield f"it remembers {found.known} of the {found.shows} events of the first page there"
    else:
        yield (
            f"it remembers none of the {found.shows} events of the first page there: this looks "
            "like another account, or like a long outage"
        )
