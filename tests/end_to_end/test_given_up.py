"""A request that was given up is not delivered later by our own machine."""

import asyncio
import subprocess
from contextlib import ExitStack

from support.network import SERVER, Network

from bridge.clock import Clock

CUT = 40.0
"""Seconds for which the path is cut, longer than the settle time of a command."""

MISSIONS = {
    "with": "00000000-0000-4000-8000-000000000001",
    "without": "00000000-0000-4000-8000-000000000002",
}


def line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def say(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def test_a_request_that_was_given_up_is_not_delivered_when_the_path_heals(
    network: Network,
) -> None:
    """The same without the socket options shows what they are for, and when to look."""
    clock = Clock()
    with ExitStack() as stack:

        def run(host: str, *arguments: str) -> subprocess.Popen[str]:
            program = stack.enter_context(network.running(host, "support.given_up", *arguments))
            assert line(program) == "ready"
            return program

        server = run(network.server, "serve", SERVER)
        askers = []
        for options, mission in MISSIONS.items():
            askers.append(run(network.client, "ask", SERVER, mission, options))
            assert line(server).startswith("GET ")
        network.cut()
        cut_at = clock.monotonic()
        for asker in askers:
            say(asker)
        for asker in askers:
            assert line(asker) == "given up, executed: None"
        gave_up_at = clock.monotonic()
        asyncio.run(clock.sleep(CUT - (gave_up_at - cut_at)))
        network.heal()
        arrived = line(server)
        assert arrived.startswith(f"POST /v2/ai/missions/{MISSIONS['without']}/runs"), arrived
        # Whoever asks now is answered, and nothing else came before.
        run(network.client, "ask", SERVER, MISSIONS["with"], "with")
        assert line(server).startswith("GET ")
