"""How the demo looks: the live picture, the same in plain words, and the report at its end.

Pure: from a scene and the time to something that rich can print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil, log1p

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from bridge.dev.demo.proof import ProofVerdict
from bridge.dev.demo.scene import Order, Scene, Seen

_BARS = " ▁▂▃▄▅▆▇█"
_FIXED_LINES = 14
_RUN_LINES = 3
_FRESH_SECONDS = 3.0
_MARKS = {"running": "green", "killed": "bold red", "drained": "blue"}
_TYPES = {
    "status_change": "cyan",
    "error": "red",
    "step_failed": "red",
    "message": "green",
    "step_completed": "green",
}
_STATUSES = {"SUCCEEDED": "green", "ALREADY_DONE": "green", "IN_DOUBT": "yellow"}


def frame(scene: Scene, *, now: float, wall: float, width: int, height: int) -> RenderableType:
    """Return the picture of a scene, not higher than `height` lines (24 or more).

    `wall` is the time of day in epoch seconds.
    """
    rows = max(4, height - _FIXED_LINES)
    step_rows = min(rows // 2, max(4, len(scene.steps)))
    return Group(
        *_title(scene, now, width),
        _line((scene.phase.headline, "bold")),
        _line((scene.phase.why, "dim")),
        _rule("The bridge"),
        *_meters(scene, now, wall, width),
        _rule("missions.events: what another reader decodes" if scene.last else "Getting ready"),
        _lines(_events(scene, rows - step_rows), rows - step_rows),
        _rule("missions.commands and missions.command-results"),
        _lines(_steps(scene.steps[-step_rows:], now), step_rows),
        _rule("Those runs, as the API shows them"),
        _lines(_runs(scene), _RUN_LINES),
        _line(("Ctrl-C ends the demo; nothing stays behind", "dim")),
    )


def summary(scene: Scene, *, now: float, wall: float) -> str:
    """Return how things stand in one line without colours."""
    behind = scene.behind(wall)
    parts = [
        f"{scene.on_kafka:,} events on Kafka, the API has {scene.in_api:,}",
        f"{scene.rate(now):.0f} a second",
        "not read yet" if behind is None else f"{behind:.1f} s behind",
        f"bridge {scene.bridge.word}",
    ]
    return "; ".join([*parts, *_position(scene)])


def report(
    scene: Scene, verdicts: Mapping[str, ProofVerdict], *, plain: bool, program: str
) -> RenderableType:
    """Return what stays on the screen: what happened (not when `plain`), the proof, what next.

    `program` is how the command is called here.
    """
    happened: list[RenderableType] = []
    if not plain:
        happened = [
            _rule("Commands and their results"),
            _lines(_steps(scene.steps, 0.0), len(scene.steps)),
            _rule("Their runs, as the API showed them"),
            _lines(_runs(scene), len(scene.runs)),
        ]
    proof: list[RenderableType] = []
    for name, verdict in verdicts.items():
        proof += [Text(f"{name}: {verdict}")] if plain else [_figures(name, verdict)]
    differences = [d for verdict in verdicts.values() for d in verdict.differences]
    return Group(
        *happened,
        Text("PROOF") if plain else _rule("The proof"),
        Text(
            "Read from the beginning (read_committed) by a reader without code of the bridge:"
            " Apache's avro, schemas by id from the registry, and the same Kafka client library"
            " (`make test` reads with another); compared with what the API knows. Out of order:"
            " within a run, but for records marked late.",
            style="dim",
        ),
        *proof,
        *(Text(difference, style="red") for difference in differences),
        _conclusion(holds=not differences),
        *_next(program),
    )


def _title(scene: Scene, now: float, width: int) -> tuple[Text, Text]:
    watched = scene.watched(now)
    clock = f"{watched:.0f} s of {scene.seconds:.0f} s "
    name = " Mission Bridge demo"
    about = "Telnyx AI Missions to Kafka and back"
    left = f"{name}   {about}" if len(name) + len(about) + len(clock) + 6 < width else name
    title = Text(left.ljust(width - len(clock)) + clock, style="bold white on blue", no_wrap=True)
    done = round(width * watched / scene.seconds)
    bar = Text("━" * done, style="blue", no_wrap=True)
    return title, bar.append("━" * (width - done), style="dim")


def _meters(scene: Scene, now: float, wall: float, width: int) -> tuple[Text, Text]:
    bridge = scene.bridge
    process = bridge.word + (f", pid {bridge.pid}" if bridge.pid else "")
    behind = scene.behind(wall)
    freshness = "" if behind is None else f"   {behind:.1f} s behind"
    position = ", ".join(_position(scene)) or "position not known yet"
    return (
        _line(
            ("● ", _MARKS.get(bridge.word, "yellow")),
            (process, ""),
            (f"   on Kafka {scene.on_kafka:,}", "bold"),
            (f" of {scene.in_api:,}", ""),
            (freshness, "" if behind is None or behind < _FRESH_SECONDS else "bold red"),
        ),
        _line(
            (f"  {position}   {scene.rate(now):3.0f} events/s ", ""),
            (_sparkline(scene.history(now, max(10, width - 60))), "blue"),
        ),
    )


def _position(scene: Scene) -> list[str]:
    """Say what the source does, and up to which time everything is on Kafka."""
    source = scene.bridge.source
    if "state" not in source:
        return []
    state = [source["state"]] if scene.bridge.word == "running" else []
    at = source.get("climb_low" if source["state"] == "climbing" else "fresh_until")
    if at is None:
        return state
    return [*state, f"read up to {_time(datetime.fromisoformat(at))}"]


def _sparkline(counts: Sequence[int]) -> str:
    # Logarithms: the first read is two hundred times what follows.
    highest = log1p(max(counts, default=0)) or 1.0
    return "".join(_BARS[ceil(log1p(count) / highest * (len(_BARS) - 1))] for count in counts)


def _events(scene: Scene, rows: int) -> list[Text]:
    """Return the last events; before the first, what was done so far."""
    if not scene.last:
        return [Text(f"{elapsed:5.1f} s  {text}") for elapsed, text in scene.told[-rows:]]
    return [_event(scene, seen) for seen in list(scene.last)[-rows:]]


def _event(scene: Scene, seen: Seen) -> Text:
    run = scene.runs.get(seen.run_id)
    return _line(
        (f"{_time(seen.at)}  ", "dim"),
        (f"{seen.run_id[:8]}  ", ""),
        (f"{seen.type:<15}", _TYPES.get(seen.type, "")),
        ("" if run is None else f" run {run.name}", "bold magenta"),
        (" late" if seen.late else "", "yellow"),
        (f" {seen.summary}", ""),
    )


def _steps(steps: Sequence[Order | str], now: float) -> list[Text]:
    return [
        Text(step, style="bold red") if isinstance(step, str) else _order(step, now)
        for step in steps
    ]


def _order(order: Order, now: float) -> Text:
    if order.status is None:
        answer = [(f"... {now - order.sent_at:.1f} s without a result", "yellow")]
    else:
        answer = [
            (f"{order.status:<13}", _STATUSES.get(order.status, "red")),
            (f"after {order.took:.2f} s  {order.error or ''}".rstrip(), "dim"),
        ]
    return _line((f"{order.verb:<12}", ""), (f" run {order.run}  ", "magenta"), *answer)


def _runs(scene: Scene) -> list[Text]:
    return [
        _line(
            (f"run {run.name}  ", "magenta"), (f"{run_id[:8]}  ", ""), (" → ".join(run.trail), "")
        )
        for run_id, run in scene.runs.items()
    ]


def _figures(name: str, verdict: ProofVerdict) -> Table:
    table = Table(
        title=name, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for figure, _ in verdict.figures:
        table.add_column(figure, justify="right", header_style="dim", no_wrap=True)
    table.add_row(*(f"{count:,}" for _, count in verdict.figures))
    return table


def _conclusion(*, holds: bool) -> Text:
    if holds:
        words = (
            "PROOF HOLDS: every event is on Kafka once and in order, every command has one result"
            " and was done at most once, with a kill -9 in between."
        )
        return Text(words, style="bold green")
    return Text("PROOF FAILED: see above what differs.", style="bold red")


def _next(program: str) -> list[Text]:
    ways = {
        "a simulated API": f"{program} simulate --events 5000 --rate 20",
        "your own Kafka": "README.md shows how",
        "the tests": "make test",
    }
    width = max(map(len, ways))
    return [
        Text(),
        Text("Next:"),
        *(Text(f"  {what:<{width}}  {how}", no_wrap=True) for what, how in ways.items()),
    ]


def _rule(title: str) -> Rule:
    return Rule(Text(title, style="bold"), align="left", style="dim")


def _line(*parts: tuple[str, str]) -> Text:
    """Return texts with their styles as one line, cut where the terminal ends."""
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _lines(lines: Sequence[Text], count: int) -> Text:
    """Return exactly `count` lines."""
    shown = Text("\n", no_wrap=True, overflow="ellipsis").join(lines[:count])
    return shown.append("\n" * (count - max(1, len(lines[:count]))))


def _time(at: datetime) -> str:
    return at.strftime("%H:%M:%S")
