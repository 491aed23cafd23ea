from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from missions_fakes import BASE, MISSION, RUN, answering, client_on, page

from bridge.errors import InvalidId
from bridge.missions import ids
from bridge.missions.models import StartRun

NO_DASHES = MISSION.replace("-", "")
HOSTILE = [
    "",
    ".",
    "..",
    "../..",
    "%2e%2e",
    "a/b",
    "x?y",
    "x#y",
    "x;y",
    "a\r\nHost: evil",
    "\u2024\u2024",
    "x" * 10_000,
    MISSION + "\n",
    NO_DASHES,
    "{" + MISSION + "}",
]


@pytest.mark.parametrize("bad", HOSTILE)
async def test_an_id_that_must_not_get_near_a_url_sends_nothing(bad: str) -> None:
    handler, seen = answering(page([]))
    async with client_on(handler) as client:
        for of_mission in (client.get_mission(bad), client.start_run(bad, StartRun())):
            with pytest.raises(InvalidId):
                await of_mission
        for of_run in (client.get_run(MISSION, bad), client.cancel_run(MISSION, bad)):
            with pytest.raises(InvalidId):
                await of_run
        if bad != NO_DASHES:
            with pytest.raises(InvalidId):
                await client.get_step(MISSION, RUN, bad)
            with pytest.raises(InvalidId):
                await client.get_event(MISSION, RUN, bad)
            with pytest.raises(InvalidId):
                await client.unlink_agent(MISSION, RUN, bad)

    assert seen == []


def test_the_message_shows_a_long_id_in_part() -> None:
    with pytest.raises(InvalidId) as caught:
        ids.uuid("mission_id", "é" * 10_000)

    assert str(caught.value).startswith("mission_id '\\xe9")
    assert len(str(caught.value)) < 400


@given(st.text(max_size=140))
def test_every_path_that_passes_stays_below_its_run(segment: str) -> None:
    try:
        path = ids.step_path(MISSION, RUN, segment)
    except InvalidId:
        return

    url = httpx.URL(f"{BASE}/ai/missions{path}")
    assert url.raw_path.decode() == f"/v2/ai/missions/{MISSION}/runs/{RUN}/plan/steps/{segment}"
