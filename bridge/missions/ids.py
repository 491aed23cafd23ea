"""Ids that may stand in a URL path, and the paths made of them.

Only these characters get near a URL: servers and clients disagree on what `..`, `%2e` or `;` in a
path mean, so such ids are refused rather than quoted and hoped for.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from bridge.errors import InvalidId

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def uuid(field: str, value: str) -> str:
    """Return `value` if it has the form of a UUID (mission_id, run_id), else raise InvalidId."""
    if not _UUID.fullmatch(value):
        raise InvalidId(f"{field} {_shown(value)} is no UUID")
    return value


def name(field: str, value: str) -> str:
    """Return `value` if it is 1 to 128 of [A-Za-z0-9_-] (other ids), else raise InvalidId."""
    if not _NAME.fullmatch(value):
        raise InvalidId(
            f"{field} {_shown(value)} is not 1 to 128 of the characters A-Z a-z 0-9 _ -"
        )
    return value


def mission_path(mission_id: str, *rest: str) -> str:
    """Return the path of a mission, or of something below it, relative to /ai/missions."""
    return _path(uuid("mission_id", mission_id), *rest)


def run_path(mission_id: str, run_id: str, *rest: str) -> str:
    """Return the path of a run, or of something below it, relative to /ai/missions."""
    return mission_path(mission_id, "runs", uuid("run_id", run_id), *rest)


def step_path(mission_id: str, run_id: str, step_id: str) -> str:
    """Return the path of a plan step, relative to /ai/missions."""
    return run_path(mission_id, run_id, "plan", "steps", name("step_id", step_id))


def event_path(mission_id: str, run_id: str, event_id: str) -> str:
    """Return the path of an event, relative to /ai/missions."""
    return run_path(mission_id, run_id, "events", name("event_id", event_id))


def agent_path(mission_id: str, run_id: str, telnyx_agent_id: str) -> str:
    """Return the path of a linked agent, relative to /ai/missions."""
    agent = name("telnyx_agent_id", telnyx_agent_id)
    return run_path(mission_id, run_id, "telnyx-agents", agent)


def _path(*segments: str) -> str:
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def _shown(value: str) -> str:
    return ascii(value if len(value) <= 64 else value[:64] + "...")
