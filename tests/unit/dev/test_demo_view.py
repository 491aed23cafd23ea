"""What the demo shows, from what happened; rich draws it into a text."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType

from bridge.clock import utc
from bridge.dev.demo import scene as scenes
from bridge.dev.demo.proof import ProofVerdict
from bridge.dev.demo.scene import Scene
from bridge.dev.demo.view import frame, report, summary

AT = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)
WALL = AT.timestamp()
RUN_A = "aaaaaaaa-0000-4000-8000-000000000000"


def event(**fields: Any) -> dict[str, Any]:
    given = {"timestamp": AT, "run_id": "bbbbbbbb-1", "type": "tool_call", "late": False}
    return {**given, "summary": "Calling telnyx_voice_call", **fields}


def result(command_id: str, **fields: Any) -> dict[str, Any]:
    given = {"status": "SUCCEEDED", "final": True, "run_id": RUN_A, "error": None}
    return {"command_id": command_id, **given, **fields}


def busy() -> Scene:
    """A scene in which much has happened, at second 130; the bridge is up since second 110."""
    scene = Scene(45, 100.0)
    scene.up(110.0)
    scene.enter(scenes.STEERING, 112.0)
    scene.process("running", 4242)
    scene.status(
        {"state": "tailing", "published": 30, "fresh_until": utc(round(WALL * 1e6) - 700_000)}
    )
    for number in range(40):
        scene.event(event(summary=f"Event {number}"), 128.5)
    scene.in_api = 45
    scene.sent("c1", "start_run", "A", 120.0)
    scene.result(result("c1"), 120.25)
    for status in ("pending", "running", "running", "paused"):
        scene.run_is(RUN_A, status, 121.0)
    scene.event(event(run_id=RUN_A, late=True, summary="\u201cYes, that suits me\u201d"), 129.0)
    scene.blow("kill -9 4242", 129.0)
    scene.sent("c2", "resume_run", "A", 129.0)
    return scene


def draw(picture: RenderableType, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(picture)
    return capture.get().splitlines()


def picture(scene: Scene, width: int = 100, height: int = 30) -> list[str]:
    shown = frame(scene, now=130.0, wall=WALL, width=width, height=height)
    return draw(shown, width, height)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 24)])
@pytest.mark.parametrize("scene", [busy(), Scene(45, 100.0)], ids=["busy", "empty"])
def test_the_picture_fills_the_terminal_and_not_more(scene: Scene, width: int, height: int) -> None:
    lines = picture(scene, width, height)
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


def test_it_shows_events_with_their_type_and_run() -> None:
    shown = "\n".join(picture(busy()))
    assert "12:30:15  bbbbbbbb  tool_call       Event 39" in shown
    assert "aaaaaaaa  tool_call       run A late \u201cYes, that suits me\u201d" in shown


def test_it_shows_commands_with_their_results_and_the_kill_between_them() -> None:
    shown = [line.split() for line in picture(busy())]
    start = shown.index(["start_run", "run", "A", "SUCCEEDED", "after", "0.25", "s"])
    kill = shown.index(["kill", "-9", "4242"])
    resume = shown.index(["resume_run", "run", "A", *["...", "1.0", "s", "without", "a", "result"]])
    assert start < kill < resume


def test_it_shows_each_status_of_a_run_once() -> None:
    assert "run A  aaaaaaaa  pending → running → paused" in "\n".join(picture(busy()))


def test_it_shows_how_far_the_bridge_is_and_how_fast() -> None:
    shown = "\n".join(picture(busy()))
    assert "running, pid 4242   on Kafka 41 of 45   0.7 s behind" in shown
    assert "tailing, read up to 12:30:14    14 events/s" in shown
    assert "20 s of 45 s" in shown


def test_a_dead_bridge_falls_behind_on_the_screen() -> None:
    scene = busy()
    scene.process("killed", 4242)
    shown = draw(frame(scene, now=135.0, wall=WALL + 5, width=100, height=30), 100, 30)
    assert "● killed, pid 4242   on Kafka 41 of 45   5.7 s behind" in "\n".join(shown)
    assert "tailing" not in "\n".join(shown)


def test_what_a_new_bridge_does_not_know_yet_stays_as_it_was() -> None:
    scene = busy()
    scene.status({"state": "tailing", "published": 41, "fresh_until": None})
    assert scene.behind(WALL) == pytest.approx(0.7)


def test_the_summary_says_the_same_in_one_line() -> None:
    assert summary(busy(), now=130.0, wall=WALL) == (
        "41 events on Kafka, the API has 45; 14 a second; 0.7 s behind; bridge running; tailing; "
        "read up to 12:30:14"
    )


def test_lines_tell_what_happened_and_when() -> None:
    told = [(round(at, 2), text) for at, text in busy().told]
    assert (20.0, "command start_run (run A) is on Kafka") in told
    assert (20.25, "result of start_run (run A): SUCCEEDED") in told
    assert (21.0, "the API shows run A as paused") in told
    assert (29.0, "kill -9 4242") in told
    assert [text for _, text in told if text.startswith("first decoded event")] == [
        "first decoded event on Kafka: tool_call, 'Event 0'"
    ]


def test_a_refused_command_says_why() -> None:
    scene = busy()
    error = {"code": "invalid", "message": "no such run", "http_body": None}
    scene.result(result("c2", status="REJECTED", error=error), 129.5)
    assert scene.told[-1][1] == "result of resume_run (run A): REJECTED: no such run"
    assert "REJECTED" in "\n".join(picture(scene))


def test_a_result_that_is_not_final_or_not_ours_changes_nothing() -> None:
    scene = busy()
    scene.result(result("c2", final=False), 129.5)
    scene.result(result("foreign"), 129.5)
    assert scene.orders["c2"].status is None


GOOD = ProofVerdict((("API showed", 5731), ("on Kafka", 5731), ("missing", 0)), ())
BAD = ProofVerdict((("API showed", 5731), ("missing", 1)), ("1 events missing on Kafka: r/e",))


@pytest.mark.parametrize("plain", [True, False])
def test_the_report_ends_with_the_proof_and_what_to_do_next(*, plain: bool) -> None:
    shown = report(busy(), {"events": GOOD}, plain=plain, program="bin/mission-bridge")
    text = "\n".join(draw(shown, 80, 24))
    assert "PROOF HOLDS" in text
    assert "bin/mission-bridge simulate --events 5000 --rate 20" in text
    assert "make test" in text
    assert ("start_run" in text) is not plain


def test_the_plain_report_has_the_figures_in_one_line() -> None:
    shown = report(busy(), {"events": GOOD}, plain=True, program="mission-bridge")
    assert "events: API showed 5,731 | on Kafka 5,731 | missing 0" in draw(shown, 80, 24)


def test_a_failed_proof_says_what_differs() -> None:
    shown = report(busy(), {"events": GOOD, "again": BAD}, plain=True, program="mission-bridge")
    text = "\n".join(draw(shown, 80, 24))
    assert "PROOF FAILED" in text
    assert "1 events missing on Kafka: r/e" in text
    assert "PROOF HOLDS" not in text
