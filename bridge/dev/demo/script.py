"""What happens in the demo, from the bridge's start over its violent end to the proof."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final

from bridge.clock import Clock
from bridge.dev.demo import scene as scenes
from bridge.dev.demo.commands import Sender
from bridge.dev.demo.proof import ProofVerdict, PublishedEvent, Sent, prove_commands, prove_events
from bridge.dev.demo.reader import reading
from bridge.dev.demo.scene import Order, Scene
from bridge.dev.demo.stage import PREFIX, BridgeProcess, DemoFailed, Stage

EVENTS: Final = f"{PREFIX}.events"
RESULTS: Final = f"{PREFIX}.command-results"

_CHECKPOINT = f"{PREFIX}.checkpoint"
_HELLO = "Hello from a Kafka record"

_PATIENCE = 60.0
"""Seconds for a step that takes one or two."""

_DEAD_SECONDS = 2.0


class Script:
    """Plays the demo once; `bridge` is the process that is there now, if any."""

    def __init__(
        self, stage: Stage, scene: Scene, sender: Sender, clock: Clock, stack: AsyncExitStack
    ) -> None:
        self._stage = stage
        self._scene = scene
        self._sender = sender
        self._clock = clock
        self._stack = stack
        self._sent: list[Sent] = []
        self.bridge: BridgeProcess | None = None

    async def play(self) -> dict[str, ProofVerdict]:
        """Play it to its end and return the proof, by what it is about.

        Raises DemoFailed when something does not happen.
        """
        self._enter(scenes.STARTING)
        await self._start_bridge()
        self._scene.up(self._clock.monotonic())
        self._enter(scenes.READING)
        await self._caught_up()
        self._tell(f"the past is on Kafka: {self._scene.on_kafka:,} events")
        self._enter(scenes.STEERING)
        await self._steer()
        await self._crash()
        await self._finish()
        self._enter(scenes.PROVING)
        return await self._prove()

    async def _steer(self) -> None:
        """Lead run A through its life, and start run B."""
        await self._at(0.06)
        await self._order("start_run", "A", "running", input={"demo": True})
        await self._at(0.14)
        await self._order("pause_run", "A", "paused")
        await self._at(0.20)
        await self._order("start_run", "B", "running")
        await self._at(0.26)
        await self._order("resume_run", "A", "running")
        await self._at(0.32)
        await self._order("log_event", "A", type="message", summary=_HELLO)
        await self._until(self._hello_came, "the logged event")
        self._tell(f"what the command logged came back as an event: {_HELLO!r}")
        await self._at(0.40)
        await self._order("cancel_run", "A", "cancelled")
        await self._at(0.50)

    async def _crash(self) -> None:
        """Kill the bridge with a command under its hands, and start it again."""
        before = self._running()
        around = [await self._send("pause_run", "B")]
        await before.kill()
        self.bridge = None
        self._scene.process("killed", before.pid)
        self._scene.blow(f"kill -9 {before.pid}", self._clock.monotonic())
        self._enter(scenes.KILLED)
        around.append(await self._send("start_run", "C"))
        self._tell(f"the checkpoint that it left on Kafka: {await self._checkpoint()}")
        await self._clock.sleep(_DEAD_SECONDS)
        await self._stage.end_sessions()
        self._enter(scenes.RESTARTED)
        await self._start_bridge()
        self._scene.blow(f"started again, pid {self._running().pid}", self._clock.monotonic())
        await self._caught_up()
        for order in around:
            await self._settled(order)
        await self._until(lambda: self._status("C") == "running", "run C being running")
        self._enter(scenes.RECOVERED)

    async def _finish(self) -> None:
        """End the other runs, let the API fall silent, and the bridge drain."""
        await self._at(0.80)
        await self._order("cancel_run", "B", "cancelled")
        await self._at(0.86)
        done = {"status": "succeeded", "result_summary": "Ended by a Kafka record"}
        await self._order("update_run", "C", "succeeded", **done)
        await self._at(1.0)
        self._enter(scenes.ENDING)
        self._stage.simulator.control("behaviour", {"rate": 0})
        await self._caught_up()
        bridge = self._running()
        status = await bridge.stop()
        if status != 0:
            raise bridge.failed(f"ended with exit status {status} after SIGTERM")
        self.bridge = None
        self._scene.process("drained")
        self._tell("SIGTERM: the bridge drained and ended with exit status 0")

    async def _prove(self) -> dict[str, ProofVerdict]:
        stage = self._stage
        async with reading(stage.kafka_address, stage.registry_url, EVENTS, RESULTS) as reader:
            records = await reader.to_end()
        events = [
            PublishedEvent(record.value["run_id"], record.value["event_id"], record.value["late"])
            for record in records
            if record.topic == EVENTS
        ]
        results = [record.value for record in records if record.topic == RESULTS]
        ledger = stage.simulator.ledger()
        return {
            "events": prove_events(ledger["events"], events),
            "commands": prove_commands(self._sent, results, ledger["effects"]),
        }

    async def _start_bridge(self) -> None:
        self._scene.process("starting")
        self.bridge = bridge = await BridgeProcess.start(self._stage)
        self._stack.push_async_callback(bridge.close)
        self._scene.process("starting", bridge.pid)
        await bridge.ready()
        self._scene.process("running", bridge.pid)
        self._tell(f"the bridge is ready, pid {bridge.pid}")

    async def _checkpoint(self) -> str:
        """Say what the bridge's last transaction wrote about its position."""
        stage, last = self._stage, dict[str, Any]()
        async with reading(stage.kafka_address, stage.registry_url, _CHECKPOINT) as reader:
            for record in await reader.to_end():
                body = record.value["body"]
                last = body if "frontier" in body else last
        return f"{last['published']:,} events published, frontier {last['frontier']:%H:%M:%S}"

    async def _order(self, verb: str, run: str, then: str = "", **body: Any) -> None:
        """Send a command, wait for its result, and until the API shows the run as `then`."""
        await self._settled(await self._send(verb, run, **body))
        if then:
            await self._until(lambda: self._status(run) == then, f"run {run} being {then}")

    async def _send(self, verb: str, run: str, **body: Any) -> Order:
        run_id = self._scene.run_named(run)
        command_id = f"demo-{len(self._sent) + 1}-{verb}"
        self._sent.append(Sent(command_id, verb, run_id))
        await self._sender.send(command_id, verb, run_id, body)
        return self._scene.sent(command_id, verb, run, self._clock.monotonic())

    async def _settled(self, order: Order) -> None:
        await self._until(
            lambda: order.status is not None, f"the result of {order.verb} (run {order.run})"
        )

    async def _at(self, part: float) -> None:
        """Wait until so much of the time is over."""
        moment = part * self._scene.seconds
        await self._comes(
            lambda: self._scene.watched(self._clock.monotonic()) >= moment, self._scene.seconds
        )

    async def _caught_up(self) -> None:
        """Wait until Kafka has as many events as the API has now; the proof tells if it never has.

        The first time these are the past events.
        """
        summary = self._stage.simulator.control("ledger?part=summary")["summary"]
        await self._comes(lambda: self._scene.on_kafka >= summary["events"], _PATIENCE)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        if not await self._comes(condition, _PATIENCE):
            raise self._running().failed(f"did not do this within {_PATIENCE:.0f} s: {what}")

    async def _comes(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; False if it did not come. Raises DemoFailed if the bridge ends."""
        limit = self._clock.monotonic() + seconds
        while not condition():
            if not self._running().runs:
                raise self._running().failed("ended by itself")
            if self._clock.monotonic() > limit:
                return False
            await self._clock.sleep(0.05)
        return True

    def _running(self) -> BridgeProcess:
        if self.bridge is None:
            raise DemoFailed("the bridge is not running")
        return self.bridge

    def _status(self, run: str) -> str:
        run_id = self._scene.run_named(run)
        return "" if run_id is None else self._scene.runs[run_id].status

    def _hello_came(self) -> bool:
        return any(seen.summary == _HELLO for seen in self._scene.last)

    def _enter(self, phase: scenes.Phase) -> None:
        self._scene.enter(phase, self._clock.monotonic())

    def _tell(self, text: str) -> None:
        self._scene.tell(text, self._clock.monotonic())
