"""`mission-bridge why`: where an event went, or where it was left and why; and of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from bridge.cli.commands import why_command
from bridge.cli.shared import Config, Json, load, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import SECOND, utc
from bridge.commands.trace import TOPICS, Traced, Tracer
from bridge.config.models import Settings, SourceSettings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK
from bridge.source.identity import digest
from bridge.source.tools.access import SourceAccess
from bridge.source.tools.left_out import Account, Sighting, look, reasons
from bridge.source.tools.why import Behind, EventPlace, certificates, commands_behind, places


@dataclass(frozen=True, slots=True)
class _Found:
    """An event's records, with the certificate of each where it is still there; or why none."""

    places: Sequence[tuple[EventPlace, Mapping[str, Any] | None]] = ()
    behind: Behind = field(default_factory=Behind)
    seen: Sighting = field(default_factory=Sighting)
    reasons: Sequence[str] = ()


def why(
    name: Annotated[str, typer.Argument(metavar="ID", help="The event, or the command.")],
    *,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Its run: then less has to be read.")
    ] = None,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Say where an event is on Kafka and how it got there, or why it is not; exit 1 then.

    Of a command: its record, its ledger entry, its results, and where its effect shows. An id that
    is both is told as both. What is read is told on stderr.
    """
    settings = load(config, "api", "kafka", "registry")
    chosen = one_source.chosen(settings, source)
    found, traced = asyncio.run(_why(settings, chosen, name, run_id))
    if as_json:
        command = why_command.as_object(traced) if traced.known else None
        say_json({"event_id": name, **_as_object(found), "as_command": command})
    else:
        for line in why_command.lines(name, traced) if traced.known else ():
            say(line)
        for line in _lines(name, found) if found.places or not traced.known else ():
            say(line)
    return EXIT_OK if found.places or traced.known else EXIT_DIFFERENCE


async def _why(
    settings: Settings, source: SourceSettings, name: str, run_id: str | None
) -> tuple[_Found, Traced]:
    async with one_source.view(settings, source) as view:
        tracer = Tracer(settings, view.desk.kafka, view.desk.codec)
        _say_read(*(settings.topic(topic) for topic in TOPICS))
        traced = await tracer.find(name)
        if traced.known:
            _say_read("the API", f"its run on {view.desk.layout.events}")
            await tracer.follow(traced, name, view.client)
        return await _event(view, name, run_id, elsewhere=traced.known), traced


async def _event(
    view: SourceAccess, event_id: str, run_id: str | None, *, elsewhere: bool
) -> _Found:
    """Return an event's records, or why there are none, unless the id is known `elsewhere`."""
    layout = view.desk.layout
    _say_read(layout.events, layout.dead_letters)
    there = await places(view, event_id, run_id)
    if not there and elsewhere:
        return _Found()
    if not there:
        _say_read("the API's lists")
        return await _left_out(view, event_id, run_id)
    _say_read(layout.audit, view.settings.topic("command-results"))
    told = await certificates(view, there)
    origins = [(one.origin.get("batch", ""), one.origin.get("sweep", "")) for one in there]
    pairs = [(one, told.get(origin)) for one, origin in zip(there, origins, strict=True)]
    return _Found(pairs, await commands_behind(view, there[0]))


def _say_read(*what: str) -> None:
    say(f"reading {', '.join(what)}", err=True)


async def _left_out(view: SourceAccess, event_id: str, run_id: str | None) -> _Found:
    seen = await look(view, event_id, run_id)
    run_id = seen.item.run_id if seen.item is not None else run_id
    checkpoint = await view.desk.look()
    audited = view.configured(checkpoint).audit_interval / SECOND
    account = Account(checkpoint, view.lateness(checkpoint), audited)
    name = None if run_id is None else digest(run_id, event_id)
    return _Found(seen=seen, reasons=list(reasons(account, name, seen)))


def _as_object(found: _Found) -> dict[str, Any]:
    pages = {"feed": found.seen.in_feed, "run": found.seen.in_run}
    return {
        "published": [_place_object(place, told) for place, told in found.places],
        "command": found.behind.logged,
        "started_by": found.behind.started,
        "shown": {
            name: None if item is None or item.ask is None else item.ask.page
            for name, item in pages.items()
        },
        "reasons": list(found.reasons),
    }


def _place_object(place: EventPlace, told: Mapping[str, Any] | None) -> dict[str, Any]:
    kept = place.kept
    return {
        "topic": kept.record.topic,
        "partition": kept.record.partition,
        "offset": kept.record.offset,
        "written": kept.written,
        "run_id": kept.run_id,
        "timestamp": kept.at,
        "late": place.late,
        "dead_letter": place.failed,
        "replay_id": place.replay,
        "origin": dict(place.origin),
        "certificate": told,
    }


def _lines(event_id: str, found: _Found) -> Iterator[str]:
    for place, told in found.places:
        yield from _place_lines(event_id, place, told)
    for did, result in (
        ("logged", found.behind.logged),
        ("its run was started", found.behind.started),
    ):
        if result is not None:
            final = "" if result["final"] else ", not final"
            yield f"  {did} by command {result['command_id']}: {result['status']}{final}"
    if found.places:
        return
    yield f"event {event_id} is not on Kafka"
    for where, item in (("the feed", found.seen.in_feed), ("its run's list", found.seen.in_run)):
        if item is not None and item.ask is not None:
            page = f"page {item.ask.page}, {item.ask.size} events a page"
            yield f"  shown in {where}: {page}, {utc(item.at)}, run {item.run_id}"
    for reason in found.reasons:
        yield f"  {reason}"


def _place_lines(event_id: str, place: EventPlace, told: Mapping[str, Any] | None) -> Iterator[str]:
    kept, origin = place.kept, place.origin
    record = kept.record
    yield f"event {event_id} of run {kept.run_id}"
    what = "published" if place.failed is None else f"dead letter ({place.failed})"
    where = f"{record.topic}, partition {record.partition}, offset {record.offset}"
    yield f"  {what}: {where}, written {utc(kept.written)}"
    if kept.at is not None:
        late = {True: ", late: a later one of its run was published before", False: ", in order"}
        yield f"  happened: {utc(kept.at)}{'' if place.late is None else late[place.late]}"
    if place.replay is not None:
        yield f"  written once more by replay {place.replay}"
    if origin:
        sweep = f"sweep {origin['sweep']} ({origin.get('pass')}), " if "sweep" in origin else ""
        batch = f", batch {origin['batch']}" if "batch" in origin else ""
        page = "no page"
        if "page" in origin:
            page = f"page {origin['page']}, {origin.get('size')} events a page"
        yield f"  found by: source {origin.get('source')}, {sweep}{page}{batch}"
    if told is not None:
        yield f"  certificate: {_certificate(told)}"
    elif "sweep" in origin:
        yield "  certificate: none on the audit topic any more"


def _certificate(told: Mapping[str, Any]) -> str:
    sweep = told["sweep"]
    links = ", ".join(window["link"] for window in sweep["windows"]) or "none"
    down = "the end of the list" if sweep["stop"] is None else utc(sweep["stop"])
    part = "complete" if sweep["complete"] else "a part or a look at the newest"
    order = "" if sweep["sorted"] else ", not sorted"
    return (
        f"{utc(told['at'])}, {part}{order}, down to {down}, {len(sweep['windows'])} windows "
        f"(linked by: {links}), {sweep['published']} published, {sweep['late']} late, lateness "
        f"window {sweep['lateness'] / SECOND:g} s"
    )
