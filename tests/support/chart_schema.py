"""The part of the chart's values.schema.json that follows from the bridge's settings.

`python -m support.chart_schema` writes it into the file; a test sees that it is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bridge.config.load import Setting, describe_settings

FILE: Final = Path(__file__).parents[2] / "helm" / "mission-bridge" / "values.schema.json"
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "true or false": {"type": "boolean"},
    "text": {"type": "string"},
}
_LISTS: Final = {"allow", "missions"}


def with_settings(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the values with the settings as they are."""
    properties = {**schema["properties"], "config": _config()}
    properties["secrets"] = {
        **properties["secrets"],
        "propertyNames": {"enum": [setting.variable for setting in files()]},
    }
    return {**schema, "properties": properties}


def files() -> list[Setting]:
    """List the settings that name a file: what the chart mounts."""
    return [setting for setting in describe_settings() if setting.type == "file"]


def _config() -> dict[str, Any]:
    """Describe the tree of bridge.toml without what is secret or a file."""
    tables: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for setting in describe_settings():
        if setting.secret or setting.type in {"file", "folder"}:
            continue
        *table, key = setting.path
        (tables.setdefault(table[0], {}) if table else top)[key] = _value(setting)
    tables["ops"]["port"]["minimum"] = 1  # a probe asks a port that is known beforehand
    source = _table(tables["source"])
    several = {"type": "array", "minItems": 1, "items": {**source, "required": ["name"]}}
    named = {name: _table(properties) for name, properties in tables.items()}
    return {**_table({**top, **named, "sources": several}), "required": ["kafka", "registry"]}


def _table(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _value(setting: Setting) -> dict[str, Any]:
    words = f"{setting.variable}: {setting.meaning} Default: {setting.default}."
    if setting.path[-1] in _LISTS:
        kind: dict[str, Any] = {"type": ["string", "array"], "items": {"type": "string"}}
    elif setting.type in _TYPES or setting.path[-1] == "start":
        kind = _TYPES.get(setting.type, {"type": "string"})
    else:
        kind = {"enum": setting.type.split(", ")}
    return {**kind, "description": words}


if __name__ == "__main__":
    FILE.write_text(json.dumps(with_settings(json.loads(FILE.read_text())), indent=2) + "\n")
