"""Finished commands in few bytes: a ledger holds up to a week of them, and one in use is an object.

Packed, one takes half of the memory, and nothing that the garbage collector has to walk: its
full passes stop the whole process for as long as there are objects. Pure; never stored.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgspec

from bridge.commands.model import Entry, Kind, Outcome, Problem, Status

_APART = frozenset({"kind", "command_id", "before", "doubt", "origin", "outcome", "problem"})
"""Fields that are known or empty once a command is finished, and those packed by themselves."""


def _flat(shape: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(shape) if field.name not in _APART)


_ENTRY, _OUTCOME, _PROBLEM = _flat(Entry), _flat(Outcome), _flat(Problem)
_of_entry, _of_outcome, _of_problem = (attrgetter(*each) for each in (_ENTRY, _OUTCOME, _PROBLEM))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def pack(entry: Entry, since: float) -> bytes:
    """Return a finished command, and since when it is known to be, as bytes."""
    outcome = entry.outcome
    if outcome is None:
        raise AssertionError(f"{entry.command_id} is not finished")
    problem = outcome.problem and _of_problem(outcome.problem)
    return _encode((since, _of_entry(entry), _of_outcome(outcome), problem))


def unpack(command_id: str, packed: bytes) -> tuple[float, Entry]:
    """Return since when a command is finished, monotonic, and its entry."""
    since, entry, outcome, problem = _decode(packed)
    ended = dict(zip(_OUTCOME, outcome, strict=True))
    ended["status"] = Status(ended["status"])
    end = Outcome(**ended, problem=problem and Problem(*problem))
    begun = dict(zip(_ENTRY, entry, strict=True))
    return since, Entry(Kind.DONE, command_id, **begun, outcome=end)
