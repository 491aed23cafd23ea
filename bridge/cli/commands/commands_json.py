"""Commands as people and scripts write them, made into the Avro record; pure.

A command is a JSON object with the fields of the record. Its body is the plain object of the verb,
without the name of a branch; what is free-form in the API's request may be an object in place of
JSON text.
"""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bridge.avro.schema import NAMESPACE, Schema
from bridge.clock import Micros
from bridge.commands.model import Command, Received, Verb, parse
from bridge.commands.policy import Refuse, Rules, decide
from bridge.errors import InvalidRecord
from bridge.missions import jsontext

FREE_OBJECTS: Final = frozenset({"input", "metadata", "payload", "result_payload"})
"""Fields that hold a JSON object as text."""

_ANYTHING_GOES: Final = Rules(frozenset(Verb), missions=None, partitioner=None, accounts=None)


def read_command(text: str | bytes) -> dict[str, Any]:
    """Return the object in a JSON text, numbers as written; raises InvalidRecord."""
    try:
        value = jsontext.loads(text)
    except ValueError as error:
        raise InvalidRecord("invalid", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRecord("invalid", "must be a JSON object")
    return value


def to_record(plain: Mapping[str, Any], schema: Schema, now: Micros) -> dict[str, Any]:
    """Return the Avro record of a command; it gets an id and the time where it has none.

    Raises InvalidRecord for what the bridge would reject: a field that does not exist or does not
    fit, a missing one, ids of the wrong form.
    """
    verbs = [verb.value for verb in Verb]
    if plain.get("type") not in verbs:
        near = _near(str(plain.get("type")), verbs)
        raise _invalid(f"type must be one of {', '.join(verbs)}{near}")
    verb = Verb(plain["type"])
    shapes = {field["name"]: field["type"] for field in _expanded(schema.parsed, {})["fields"]}
    shapes["body"] = next(
        branch for branch in shapes["body"] if branch["name"] == f"{NAMESPACE}.{verb.branch}"
    )
    given = {"command_id": uuid.uuid4().hex, "issued_at": now, "body": {}, **plain}
    record = _fields("", given, shapes)
    record["body"] = (shapes["body"]["name"], record["body"])
    _ask_policy(parse(record), now)
    return record


def _ask_policy(command: Command, now: Micros) -> None:
    """Raise what the bridge would say of the command's ids and body."""
    received = Received(0, 0, command.key, None, (), now)
    decision = decide(command, received, None, _ANYTHING_GOES, partitions=1, now=now)
    problem = decision.outcome.problem if isinstance(decision, Refuse) else None
    if problem is not None and problem.code == "invalid":
        raise _invalid(problem.message)


def _fields(where: str, given: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's fields, all of them, each made to fit its shape."""
    for name in given:
        if name not in shapes:
            raise _invalid(f"{where}{name}: there is no such field{_near(name, shapes)}")
    return {
        name: _value(f"{where}{name}", given.get(name), shape) for name, shape in shapes.items()
    }


def _value(where: str, value: Any, shape: Any) -> Any:
    match shape:
        case ["null", inner]:
            return None if value is None else _value(where, value, inner)
        case _ if value is None:
            raise _invalid(f"{where} is missing")
        case "string" if where.rpartition(".")[2] in FREE_OBJECTS:
            return _free_object(where, value)
        case "string" if isinstance(value, str):
            return value
        case "int" | "long" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case {"type": "array", "items": inner} if isinstance(value, list):
            return [_value(f"{where}[{n}]", item, inner) for n, item in enumerate(value)]
        case {"type": "record", "fields": fields} if isinstance(value, dict):
            return _fields(f"{where}.", value, {field["name"]: field["type"] for field in fields})
    raise _invalid(f"{where} must be {_words(shape)}")


def _free_object(where: str, value: Any) -> str:
    """Return the text of an object, which may have been given as its text."""
    if isinstance(value, dict):
        return jsontext.dumps(value)
    try:
        read_command(value if isinstance(value, str) else "")
    except InvalidRecord:
        example = f'{{"{where.rpartition(".")[2]}": {{"name": "value"}}}}'
        raise _invalid(f"{where} must be an object, as in {example}") from None
    return str(value)


def _expanded(shape: Any, named: dict[str, Any]) -> Any:
    """Put records in the place of their names; Avro defines each before it is named."""
    match shape:
        case str():
            return named.get(shape, shape)
        case list():
            return [_expanded(branch, named) for branch in shape]
        case {"type": "array", "items": items}:
            return {**shape, "items": _expanded(items, named)}
        case {"type": "record", "name": name, "fields": fields}:
            inner = [{**field, "type": _expanded(field["type"], named)} for field in fields]
            named[name] = {**shape, "fields": inner}
            return named[name]
    return shape


def _words(shape: Any) -> str:
    kind = shape["type"] if isinstance(shape, dict) else shape
    names = {"string": "a text", "int": "an integer", "long": "an integer", "array": "a list"}
    return names.get(kind, "an object")


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _invalid(message: str) -> InvalidRecord:
    return InvalidRecord("invalid", message)
