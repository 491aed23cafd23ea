"""`mission-bridge commands`: what is refused before anything is asked of Kafka."""

from __future__ import annotations

import pytest
from support.command_line import invoke


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--verb", "start_runs", "'start_runs' is not one of 'create_mission'"),
        ("--mission", "m-1", "'m-1' is no UUID"),
    ],
)
def test_a_scope_that_holds_nothing_is_a_mistake(
    verb: str, option: str, value: str, told: str
) -> None:
    ended = invoke("commands", verb, option, value, env={})
    assert (ended.code, ended.out) == (64, "")
    assert told in ended.err


def test_settings_are_asked_for_before_anything_is_done() -> None:
    ended = invoke("commands", "pause", env={})
    assert ended.code == 78
    assert "BRIDGE_KAFKA__BOOTSTRAP_SERVERS" in ended.err
    assert "TELNYX_API_KEY" not in ended.err
