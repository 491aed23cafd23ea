"""What a record of the commands topic is before it is a command: fit to be decoded, or whose it is.

Pure. Whoever sends JSON, or too much, gets a result all the same, where the record shows a
command_id: a dead letter alone reaches the operators, not the sender.
"""

from __future__ import annotations

import json
from typing import Any, Final

from bridge.commands import model
from bridge.commands.model import COMMAND_ID, Command, Entry, Kind, Problem, Received, Verb
from bridge.errors import InvalidRecord, Undecodable

LARGEST_COMMAND: Final = 384 * 1024
"""Bytes of a command's key, value and headers. Its intent and its result, which repeat parts of
it, then fit what brokers accept for a record (1 MB unless told otherwise)."""

_WIRE_HEADER: Final = 5
_FORMAT: Final = "Avro in the Confluent wire format (README, Commands)"
_VERBS: Final = frozenset(verb.value for verb in Verb)


def check(received: Received) -> None:
    """Raise InvalidRecord for a record that must not be decoded."""
    if isinstance(received.value, Undecodable):
        raise received.value.error
    if received.size > LARGEST_COMMAND:
        what = f"{received.size} bytes with key and headers, the limit is {LARGEST_COMMAND}"
        raise InvalidRecord("too_large", what)
    for name, _ in received.headers:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidRecord("bad_header", "the name of a header is not UTF-8") from error


def written_as_json(received: Received) -> Entry | None:
    """Return the entry of a command that was sent as JSON; None where no command_id is shown."""
    value = received.value or b""
    if isinstance(value, Undecodable) or len(value) > LARGEST_COMMAND:
        return None
    try:
        found: Any = json.loads(value[_WIRE_HEADER:] if value[:1] == b"\0" else value)
    except (ValueError, RecursionError):
        return None
    command_id = found.get("command_id") if isinstance(found, dict) else None
    if not isinstance(command_id, str) or not COMMAND_ID.fullmatch(command_id):
        return None
    verb = found.get("type")
    type_ = verb if isinstance(verb, str) and verb in _VERBS else "unknown"
    return _entry(received, command_id, type_)


def decoded(command: Command, received: Received) -> Entry | None:
    """Return the entry of a command that is not to be carried out; None for a wrong command_id."""
    if not COMMAND_ID.fullmatch(command.command_id):
        return None
    return model.first_sight(command, received)


def refusal(error: InvalidRecord, *, as_json: bool) -> Problem:
    """Say to the sender why the record is a dead letter."""
    if as_json:
        return Problem("not_avro", f"the command is JSON, but must be {_FORMAT}")
    return Problem(error.reason, f"the command has {error}")


def _entry(received: Received, command_id: str, type_: str) -> Entry:
    return Entry(
        kind=Kind.NEW,
        command_id=command_id,
        type=type_,
        mission_id=None,
        run_id=None,
        account=None,
        fingerprint=b"",
        offset=received.offset,
        received_at=received.received_at,
    )
