"""Records of the command state: their keys, their version, and what every kind has. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.clock import Micros
from bridge.commands.model import COMMAND_ID, Kind, Status
from bridge.errors import InvalidRecord

VERSION = 3
"""What this bridge writes and the newest that it understands; 1 had no doubts and no brakes, 2 no
replies."""


def position_key(partition: int) -> str:
    """Return the key of the record that says how far a partition was read."""
    return f"pos/{partition}"


def claim_key(partition: int, nonce: str) -> str:
    """Return the key of the mark of one owner."""
    return f"claim/{partition}/{nonce}"


def reply_key(partition: int, result_id: str) -> str:
    """Return the key of a copy that is owed."""
    return f"reply/{partition}/{result_id}"


def concerns(key: str, partition: int) -> bool:
    """Whether a record of a partition's ledger says what is known of its commands.

    Not brakes, which all partitions share, nor keys that no bridge writes.
    """
    kind, slash, rest = key.partition("/")
    if not slash:
        return COMMAND_ID.fullmatch(key) is not None
    return key == position_key(partition) or (
        kind in {"claim", "reply"} and rest.startswith(f"{partition}/")
    )


def check(key: str, state: Mapping[str, Any]) -> None:
    """Raise InvalidRecord for a record that no bridge wrote under this key, or a newer bridge."""
    if state["version"] > VERSION:
        what = f"it has version {state['version']}, this bridge knows {VERSION}"
        raise InvalidRecord("newer_version", f"{what}: run the newer bridge")
    kind, command = state["kind"], state["command"]
    if "/" in key:
        begins = {"position": "pos/", "claim": "claim/", "reply": "reply/", "brake": "brake/"}
        fits = key.startswith(begins.get(kind, "none")) and (kind == "claim" or bool(state[kind]))
    elif kind == Kind.DONE:
        outcome = state["outcome"]
        fits = bool(command and outcome) and outcome["status"] in set(Status)
    else:
        begun = kind in {Kind.INTENT, Kind.DOUBT, Kind.WITHDRAWN}
        fits = begun and bool(command and command["origin"])
    if not fits or (command and command["command_id"] != key):
        raise InvalidRecord("foreign_state", f"no bridge writes a {kind[:64]!r} under this key")


def brake_state(
    verb: str | None, mission_id: str | None, set_by: str, reason: str | None, now: Micros
) -> dict[str, Any]:
    """Return the record that holds commands back."""
    brake = {"verb": verb, "mission_id": mission_id, "set_by": set_by, "reason": reason}
    return state_of("brake", "", now) | {"brake": brake}


def state_of(kind: str, owner: str, now: Micros) -> dict[str, Any]:
    """Return what every kind of record has; the part that is of its kind is still to be set."""
    return {
        "version": VERSION,
        "kind": kind,
        "written_at": now,
        "owner": owner,
        "command": None,
        "outcome": None,
        "position": None,
        "brake": None,
        "reply": None,
    }
