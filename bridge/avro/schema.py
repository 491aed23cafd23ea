"""Schemas as files, and which schemas bytes may be decoded with.

Decoding trusts a schema as much as the bytes: with a recursive schema, or one with items that take
no bytes, a few bytes keep fastavro busy until memory or the stack ends. `admit` lets a schema in
only if each value that it describes costs at least one byte, so that work and memory are linear in
the size of a record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

NAMESPACE: Final = "missionbridge.v1"

_PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "bytes", "string"})
_KEPT = ("name", "namespace", "aliases", "symbols", "size", "default")
_MAX_TEXT = 1_000_000
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema in the three forms that are needed.

    `text` is what the registry gets. `parsed` is for fastavro, without logical types: timestamps
    are integers, microseconds UTC, on both ways. `fingerprint` is the SHA-256 of Avro's parsing
    canonical form, in hex.
    """

    name: str
    text: str
    parsed: dict[str, Any]
    fingerprint: str


def load_schemas() -> dict[str, Schema]:
    """Return the project's own schemas by the stem of their file: `mission_event` and so on."""
    package = Path(__file__).parents[1]
    installed = package / "schemas"
    folder = installed if installed.is_dir() else package.parent / "schemas"
    return {
        path.stem: admit(
            path.stem, json.dumps(json.loads(path.read_bytes()), separators=(",", ":"))
        )
        for path in sorted(folder.glob("*.avsc"))
    }


def admit(name: str, text: str) -> Schema:
    """Parse a schema that records may be decoded with.

    Raises ValueError if it is no Avro record, recursive, nested more than 32 deep, or has a value
    that takes no bytes other than as a branch of a union.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"a schema of {len(text)} characters, the limit is {_MAX_TEXT}")
    try:
        return _parse(name, text)
    except ValueError:
        raise
    except Exception as error:  # whatever a hostile text makes the parsers raise
        raise ValueError(f"not an Avro schema: {type(error).__name__}: {error}") from error


def sole_branches(writer: Schema, reader: Schema) -> dict[str, str]:
    """Return, by field, the record that a writer always writes where the reader has several.

    fastavro names the branch of a union only where the writer had a choice.
    """
    written = {field["name"]: _records(field["type"]) for field in writer.parsed["fields"]}
    sole: dict[str, str] = {}
    for field in reader.parsed["fields"]:
        ours, theirs = _records(field["type"]), written.get(field["name"], {})
        common = [name for short, name in ours.items() if short in theirs]
        if len(ours) > 1 and len(theirs) == 1 and common:
            sole[field["name"]] = common[0]
    return sole


def _records(schema: Any) -> dict[str, str]:
    """Return the full names of a union's records by their short names."""
    branches = schema if isinstance(schema, list) else [schema]
    names = [
        branch["name"] for branch in branches if isinstance(branch, Mapping) and "fields" in branch
    ]
    return {name.rsplit(".", 1)[-1]: name for name in names}


def _parse(name: str, text: str) -> Schema:
    plain = _plain(json.loads(text), _MAX_DEPTH)
    named: dict[str, Any] = {}
    parsed = parse_schema(plain, named)
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        raise ValueError("not a record")
    _bounded(parsed, named, frozenset(), set())
    return Schema(name, text, parsed, fingerprint(to_parsing_canonical_form(plain), "SHA-256"))


def _plain(schema: Any, depth: int) -> Any:
    """Leave only what decoding needs: no logical types, no properties of other tools."""
    if depth == 0:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(schema, list):
        return [_plain(branch, depth - 1) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    kind = schema["type"]
    if isinstance(kind, Mapping | list) or kind in _PRIMITIVES or kind == "null":
        return _plain(kind, depth - 1)
    plain = {"type": kind} | {key: schema[key] for key in _KEPT if key in schema}
    for key in ("items", "values"):
        if key in schema:
            plain[key] = _plain(schema[key], depth - 1)
    if "fields" in schema:
        plain["fields"] = [
            {key: field[key] for key in ("name", "aliases", "default") if key in field}
            | {"type": _plain(field["type"], depth - 1)}
            for field in schema["fields"]
        ]
    return plain


def _bounded(
    schema: Any, named: Mapping[str, Any], inside: frozenset[str], checked: set[str]
) -> None:
    """Refuse recursion and values without bytes.

    `inside` names the records around, `checked` those that were walked before.
    """
    if isinstance(schema, str) and schema in _PRIMITIVES:
        return
    if isinstance(schema, list):
        for branch in schema:
            if not _takes_no_bytes(branch, named):
                _bounded(branch, named, inside, checked)
        return
    if _takes_no_bytes(schema, named):
        raise ValueError("a value that takes no bytes, outside a union")
    found = named[schema] if isinstance(schema, str) else schema
    name = found.get("name")
    if name in inside:
        raise ValueError(f"recursive: {name} contains itself")
    if name in checked:
        return
    parts = [field["type"] for field in found.get("fields", ())]
    parts += [found[key] for key in ("items", "values") if key in found]
    for part in parts:
        _bounded(part, named, inside | {name} if name else inside, checked)
    if name:
        checked.add(name)


def _takes_no_bytes(schema: Any, named: Mapping[str, Any]) -> bool:
    found = named.get(schema, schema) if isinstance(schema, str) else schema
    if not isinstance(found, Mapping):
        return bool(found == "null")
    if found["type"] == "fixed":
        return not found["size"] > 0
    return found["type"] == "record" and not found["fields"]
