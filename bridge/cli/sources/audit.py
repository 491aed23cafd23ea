"""`mission-bridge audit`: does Kafka hold what the API shows, each event once and unchanged?"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bridge.cli.shared import Config, Json, load, say, say_json
from bridge.cli.sources import one_source
from bridge.clock import Micros, utc
from bridge.config.models import Settings, SourceSettings
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK
from bridge.kafka.topic_reader import find_topic
from bridge.source.tools.compare import Difference
from bridge.source.tools.reconcile import Report, RunName, reconcile

_NOTES = {
    "pending": "not published yet: newer than the watermark",
    "before_start": "older than the source's start: not to be published",
    "not_shown": "on Kafka alone: no longer shown by the API, or newer than what was read of it",
    "unreadable": "records that hold no event",
}


def audit(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIMESTAMP", help="Leave out what happened before.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Compare one run, by its own list.")
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare another topic: a copy of the events."),
    ] = None,
    source: one_source.Name = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Compare the API with Kafka and print every difference; exit 1 if there is one.

    Missing, doubled and changed events are differences. What is newer than the source's watermark
    may still be on its way, and what the API no longer shows cannot be compared: both are counted.
    """
    low = None if since is None else one_source.timestamp("--since", since)
    settings = load(config, "api", "kafka", "registry")
    chosen = one_source.chosen(settings, source)
    report = asyncio.run(_audit(settings, chosen, topic or "events", low, run_id))
    if as_json:
        say_json({"source": chosen.name, **_as_object(report)})
    else:
        _tell(chosen.name, report)
    return EXIT_DIFFERENCE if report.differences else EXIT_OK


async def _audit(
    settings: Settings, source: SourceSettings, topic: str, since: Micros | None, run_id: str | None
) -> Report:
    async with one_source.view(settings, source) as view:
        partitions = await find_topic(view.desk.kafka, settings.topic(topic), topic)
        run = None
        if run_id is not None:
            mission_id = await view.mission_of(run_id)
            if mission_id is None:
                raise typer.BadParameter(
                    f"--run: neither the API nor the checkpoint knows {run_id}"
                )
            run = RunName(mission_id, run_id)
        return await reconcile(view, partitions, since=since, run=run)


def _as_object(report: Report) -> dict[str, Any]:
    return {
        "topic": report.topic,
        "since": report.since,
        "complete_until": report.until,
        **asdict(report.counts),
        "differences": [asdict(one) for one in report.differences],
    }


def _tell(source: str, report: Report) -> None:
    counts = report.counts
    until = "not known yet" if report.until is None else utc(report.until)
    say(f"source {source}: the API against {report.topic}; watermark {until}")
    say(f"{counts.shown:>10}  events shown by the API")
    say(f"{counts.records:>10}  records, {counts.dead_letters} dead letters")
    if counts.replays:
        say(f"{counts.replays:>10}  replayed on purpose")
    for name, words in _NOTES.items():
        if count := getattr(counts, name):
            say(f"{count:>10}  {words}")
    for one in report.differences:
        say(_line(one))
    count = len(report.differences)
    say("no difference" if not count else f"{count} difference{'s' * (count > 1)}")


def _line(one: Difference) -> str:
    name = f"{one.run_id}/{one.event_id}" if one.event_id else f"row of run {one.run_id or '?'}"
    when = "" if one.at is None else f"  {utc(one.at)}"
    place = "" if one.topic is None else f"  {one.topic}-{one.partition} offset {one.offset}"
    return f"{one.kind:>10}  {name}{when}{place}"
