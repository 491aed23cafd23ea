"""Which schema belongs to which subject, how it may change, and getting them registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from bridge.avro.registry import Level, Registry
from bridge.avro.schema import Schema, load_schemas

_TOPICS: Final[Mapping[str, str]] = {
    "mission_event": "events",
    "mission_command": "commands",
    "command_result": "command-results",
    "command_state": "command-state",
    "checkpoint": "checkpoint",
    "audit_record": "audit",
}


class Subject(NamedTuple):
    """A subject's schema and compatibility level."""

    schema: Schema
    level: Level


class Registration(NamedTuple):
    """What `register_all` did for a subject."""

    subject: str
    schema_id: int
    level: Level
    new: bool


def subject_of(prefix: str, topic: str) -> str:
    """Return the subject of a topic's values, `topic` without its prefix: events and so on."""
    return f"{prefix}.{topic}-value"


def subjects(prefix: str) -> dict[str, Subject]:
    """Return every subject of ours with its schema and level.

    Others write commands, some with older schemas than ours, and only we read them: a new version
    must read what all earlier ones wrote. What we publish is read by others, with schemas older
    and newer than what wrote it.
    """
    return {
        subject_of(prefix, _TOPICS[name]): Subject(
            schema, "BACKWARD_TRANSITIVE" if name == "mission_command" else "FULL_TRANSITIVE"
        )
        for name, schema in load_schemas().items()
    }


async def register_all(registry: Registry, prefix: str) -> list[Registration]:
    """Set the level of each subject and register its schema; what is there already is left alone.

    Raises ConfigError if the registry refuses a schema, RegistryAway.
    """
    done = []
    for subject, (schema, level) in subjects(prefix).items():
        if await registry.level(subject) != level:
            await registry.set_level(subject, level)
        present = await registry.lookup(subject, schema.text)
        new = present is None
        schema_id = await registry.register(subject, schema.text) if present is None else present
        done.append(Registration(subject, schema_id, level, new))
    return done


async def check_all(registry: Registry, prefix: str) -> list[str]:
    """Return what is wrong with the registry's subjects, one sentence each; changes nothing."""
    problems = []
    for subject, (schema, level) in subjects(prefix).items():
        if await registry.lookup(subject, schema.text) is None:
            if await registry.compatible(subject, schema.text):
                problems.append(f"{subject}: the schema {schema.name} is not registered")
            else:
                problems.append(f"{subject}: the schema {schema.name} does not fit what is there")
        set_to = await registry.level(subject)
        if set_to != level:
            problems.append(f"{subject}: compatibility level is {set_to or 'not set'}, not {level}")
    return problems
