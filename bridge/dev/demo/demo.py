"""The demo: the whole system on this machine alone, a kill -9 in the middle, a proof at the end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.live import Live

from bridge.clock import SECOND, Clock
from bridge.dev.api.faults import Behaviour
from bridge.dev.api.simulator import Simulator
from bridge.dev.demo.commands import sending
from bridge.dev.demo.proof import ProofVerdict
from bridge.dev.demo.reader import reading
from bridge.dev.demo.scene import Scene
from bridge.dev.demo.script import EVENTS, RESULTS, Script
from bridge.dev.demo.stage import WAYS, Stage, Way, stage
from bridge.dev.demo.view import frame, report, summary
from bridge.errors import EXIT_DIFFERENCE, EXIT_OK
from bridge.logs import configure_logging

PAST_EVENTS: Final = 5000
RATE: Final = 20.0
LATE: Final = Behaviour(late_probability=0.03, late_seconds=5)
"""A few events of the simulated API carry a time that is over already."""

EXIT_INTERRUPTED: Final = 130

_FRAME_SECONDS = 0.2
_LOOK_SECONDS = 0.25
_SUMMARY_SECONDS = 5.0


def run(seconds: float, ways: Sequence[Way] = WAYS) -> int:
    """Play the demo, watch the bridge for `seconds`, and return the exit status.

    1 if the proof fails, 130 if it was interrupted. Raises DemoFailed, and DependencyAway where no
    Kafka can be had.
    """
    configure_logging("critical", "console")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it would write into the picture
    return asyncio.run(_run(seconds, ways))


async def _run(seconds: float, ways: Sequence[Way]) -> int:
    console, clock = Console(highlight=False), Clock()
    plain = not console.is_terminal or console.is_dumb_terminal
    scene = Scene(seconds, clock.monotonic())
    _cancel_on_signals()
    try:
        async with _beside(_print(scene, console) if plain else _draw(scene, console)):
            verdicts = await _play(scene, ways)
    except asyncio.CancelledError:
        console.print("interrupted: everything was stopped, nothing is left behind")
        return EXIT_INTERRUPTED
    console.print(report(scene, verdicts, plain=plain, program=_program()), soft_wrap=plain)
    return EXIT_OK if all(verdict.holds for verdict in verdicts.values()) else EXIT_DIFFERENCE


def _program() -> str:
    """Return how the command is called here: by its name, or by its place in a .venv."""
    name = "mission-bridge"
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) or not beside.is_relative_to(Path.cwd()):
        return name
    return str(beside.relative_to(Path.cwd()))


def _cancel_on_signals() -> None:
    """Let the first signal end the demo in order; it takes a moment, so others change nothing."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise AssertionError("signals are for the task that runs the demo")

    def end() -> None:
        for number in numbers:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end)


async def _play(scene: Scene, ways: Sequence[Way]) -> dict[str, ProofVerdict]:
    clock = Clock()
    simulator = Simulator(clock=clock, events=PAST_EVENTS, rate=RATE, behaviour=LATE)

    def tell(text: str) -> None:
        scene.tell(text, clock.monotonic())

    tell(
        f"Mission Bridge demo, on this machine alone; {scene.seconds:.0f} s with the bridge at work"
    )
    tell(f"the simulated API has {PAST_EVENTS:,} past events and {RATE:.0f} new ones a second")
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mission-bridge-demo-"))
        place = await stack.enter_async_context(stage(Path(folder), simulator, ways, tell))
        api = await stack.enter_async_context(_api(place))
        missions = (await api.get("/ai/missions", params={"page[size]": 1})).json()["data"]
        sender = await stack.enter_async_context(sending(place, missions[0]["mission_id"]))
        script = Script(place, scene, sender, clock, stack)
        async with _beside(
            _follow(place, scene),
            _watch_bridge(script, scene),
            _watch_api(place, scene, api, missions[0]["mission_id"]),
        ):
            return await script.play()


@asynccontextmanager
async def _beside(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run loops beside the block and end them with it; raises what ended one of them before."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _api(place: Stage) -> httpx.AsyncClient:
    """Return a client of the API that is not the bridge's."""
    headers = {"authorization": "Bearer KEY_demo"}
    return httpx.AsyncClient(base_url=f"{place.api_url}/v2", headers=headers, trust_env=False)


async def _follow(place: Stage, scene: Scene) -> None:
    """Read events and results as they come."""
    clock = Clock()
    async with reading(place.kafka_address, place.registry_url, EVENTS, RESULTS) as reader:
        while True:
            for record in await reader.poll(0.2):
                take = scene.event if record.topic == EVENTS else scene.result
                take(record.value, clock.monotonic())


async def _watch_bridge(script: Script, scene: Scene) -> None:
    """Ask the bridge for its status."""
    clock = Clock()
    while True:
        source = await script.bridge.source() if script.bridge is not None else None
        if source is not None:
            scene.status(source)
        await clock.sleep(_LOOK_SECONDS)


async def _watch_api(place: Stage, scene: Scene, api: httpx.AsyncClient, mission_id: str) -> None:
    """Look at how many events the API has, and at the runs that commands steer."""
    clock = Clock()
    while True:
        held = place.simulator.control("ledger?part=summary")["summary"]["events"]
        scene.in_api = max(scene.in_api, held)
        for run_id in list(scene.runs):
            answer = await api.get(f"/ai/missions/{mission_id}/runs/{run_id}")
            scene.run_is(run_id, answer.json()["data"]["status"], clock.monotonic())
        await clock.sleep(_LOOK_SECONDS)


async def _draw(scene: Scene, console: Console) -> None:
    """Show the live picture."""
    clock = Clock()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            now, wall = clock.monotonic(), clock.now() / SECOND
            width, height = console.size
            picture = frame(scene, now=now, wall=wall, width=width, height=height)
            live.update(picture, refresh=True)
            await clock.sleep(_FRAME_SECONDS)


async def _print(scene: Scene, console: Console) -> None:
    """Print a line for each thing worth telling, and now and then how things stand."""
    clock = Clock()
    printed, summed_up = 0, clock.monotonic()
    try:
        while True:
            printed = _print_new(scene, console, printed)
            now = clock.monotonic()
            if scene.on_kafka and now >= summed_up + _SUMMARY_SECONDS:
                summed_up = now
                scene.tell(summary(scene, now=now, wall=clock.now() / SECOND), now)
            await clock.sleep(_FRAME_SECONDS)
    finally:
        _print_new(scene, console, printed)


def _print_new(scene: Scene, console: Console, printed: int) -> int:
    for elapsed, text in scene.told[printed:]:
        console.print(f"{elapsed:6.1f} s  {text}", soft_wrap=True, markup=False)
    return len(scene.told)
