"""Records as bytes: Confluent's wire format (a zero, the schema's id in 4 bytes, Avro).

Encoding is for the hot path: no look-ups, no awaiting. Decoding is for bytes that anyone may have
written: only schemas listed under the record's own subject are used, and only after `admit`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from fastavro import schemaless_reader, schemaless_writer
from fastavro.validation import validate

from bridge.avro.encoder import UNFIT, Encode, encoder_of
from bridge.avro.registry import Registry
from bridge.avro.schema import NAMESPACE, Schema, admit, load_schemas, sole_branches
from bridge.clock import Clock
from bridge.errors import ConfigError, InvalidRecord, RegistryAway, Undecodable

__all__ = ["NAMESPACE", "Codec", "Schema", "load_schemas"]

MAX_BYTES: Final = 1_048_576
"""The longest value that is decoded: Kafka's own limit for a record."""

_HEADER: Final = 5
_LISTING_COUNTS_FOR: Final = 1.0
_STRANGERS_ASKED: Final = 20
_QUOTED: Final = 200


@dataclass(frozen=True, slots=True)
class _Writer:
    """A schema to decode with."""

    parsed: dict[str, Any]
    ours: dict[str, Any] | None
    """Our schema to read it as; None where the two are the same."""
    sole: dict[str, str]
    """See `sole_branches`."""


@dataclass(slots=True)
class _Subject:
    """What is known of one subject."""

    name: str
    reader: Schema
    schema_id: int
    header: bytes
    encode_fast: Encode | None
    """For values of the expected types, where the schema is a flat one."""
    writers: dict[int, _Writer | ValueError]
    """By id: the schemas that are registered here, or why one of them cannot be used."""
    proven: str
    """A text of our id that was found to be our schema."""
    listed_at: float = float("-inf")
    strangers: dict[int, str] = field(default_factory=dict)
    """Reasons for ids that the last listing lacks; not more than a few."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Codec:
    """Encodes and decodes the values of all topics.

    Values are dicts by field name. Timestamps are integers, microseconds UTC. A union of several
    records (the body of a command) is a pair of the record's full name and its fields, on both
    ways: `("missionbridge.v1.StartRun", {"input": None, "metadata": None})`.
    """

    def __init__(self, registry: Registry, *, clock: Clock | None = None) -> None:
        self._registry = registry
        self._clock = clock or Clock()
        self._subjects: dict[str, _Subject] = {}
        self._pins: dict[int, str] = {}
        self.trouble: str | None = None
        """Why nothing may be written: our ids do not mean any more what they did."""

    async def prepare(self, subject: str, schema: Schema, *, register: bool = False) -> None:
        """Get ready to encode and decode the values of a subject with our schema.

        Raises ConfigError if it is not registered and must not be, or is refused; RegistryAway.
        """
        schema_id = await self._registry.lookup(subject, schema.text)
        if schema_id is None and register:
            schema_id = await self._registry.register(subject, schema.text)
        if schema_id is None:
            problem = (
                f"the registry at {self._registry.url} lacks schema {schema.name} of {subject}: "
                "run `mission-bridge schemas register`, or set BRIDGE_REGISTRY__REGISTER=true"
            )
            raise ConfigError([problem])
        if not self._pin(schema_id, schema):
            raise ConfigError([self._other_meaning(schema_id)])
        header = b"\0" + schema_id.to_bytes(4, "big")
        self._subjects[subject] = _Subject(
            subject,
            schema,
            schema_id,
            header,
            encode_fast=encoder_of(schema.parsed, header),
            writers={schema_id: _Writer(schema.parsed, None, {})},
            proven=schema.text,
        )

    async def verify(self) -> None:
        """Ask what our schema ids mean now, and set `trouble` accordingly. Raises RegistryAway."""
        wrong = None
        for known in self._subjects.values():
            text = await self._registry.by_id(known.schema_id)
            if text is None:
                wrong = (
                    f"the registry at {self._registry.url} has lost schema id {known.schema_id} of "
                    f"{known.name}: nothing is written until it is restored; or restart the bridge "
                    "after `mission-bridge schemas register`"
                )
            elif not _is_ours(known, text):
                wrong = self._other_meaning(known.schema_id)
        self.trouble = wrong

    def check(self) -> None:
        """Raise RegistryAway with the `trouble`, if there is any."""
        if self.trouble is not None:
            raise RegistryAway(self.trouble)

    def encode(self, subject: str, value: dict[str, Any]) -> bytes:
        """Return a value in wire format; fields that have a default may be left out.

        Raises InvalidRecord("unencodable") for a value that does not fit the schema.
        """
        ours = self._subjects[subject]
        if ours.encode_fast is not None:
            try:
                return ours.encode_fast(value)
            except UNFIT:
                pass  # fastavro takes it, or says what is wrong
        out = BytesIO()
        out.write(ours.header)
        try:
            schemaless_writer(out, ours.reader.parsed, value, strict_allow_default=True)
        except Exception as error:
            reason = f"no {ours.reader.name}: {_shown(error)}"
            raise InvalidRecord("unencodable", reason) from error
        return out.getvalue()

    async def decode(
        self, subject: str, data: bytes | None, *, received: float | None = None
    ) -> dict[str, Any]:
        """Return the value of a record, read as our schema whichever version wrote it.

        `received` is the clock's monotonic time at which the record was known to be on Kafka. Its
        schema was registered before that, so one listing of the subject begun later settles all
        unknown ids of a batch. Without it a listing counts for a second.

        Raises RegistryAway, and InvalidRecord with a reason: null_value, too_large, wrong_magic,
        truncated, unknown_schema (the registry has no such id), foreign_schema (it is not one of
        this subject, or not one to decode with), trailing_bytes, undecodable.
        """
        if isinstance(data, Undecodable):
            raise data.error
        if data is None:
            raise InvalidRecord("null_value", f"a null value where {subject} has none")
        if len(data) > MAX_BYTES:
            raise InvalidRecord("too_large", f"{len(data)} bytes, the limit is {MAX_BYTES}")
        if data[:1] not in {b"", b"\0"}:
            raise InvalidRecord("wrong_magic", f"the first byte is {data[0]:#04x}, not 0")
        if len(data) < _HEADER:
            raise InvalidRecord("truncated", f"{len(data)} bytes, the header alone has {_HEADER}")
        known = self._subjects[subject]
        writer = await self._writer(known, int.from_bytes(data[1:_HEADER], "big"), received)
        return _read(data, writer)

    async def _writer(self, known: _Subject, schema_id: int, received: float | None) -> _Writer:
        """Return the schema with this id if it is one of the subject's."""
        if schema_id not in known.writers:
            if received is None:
                received = self._clock.monotonic() - _LISTING_COUNTS_FOR
            async with known.lock:
                if known.listed_at < received:
                    await self._list(known)
                if schema_id not in known.writers:
                    raise await self._stranger(known, schema_id)
        writer = known.writers[schema_id]
        if isinstance(writer, ValueError):
            reason = f"schema id {schema_id} of {known.name} cannot be used: {writer}"
            raise InvalidRecord("foreign_schema", reason)
        return writer

    async def _list(self, known: _Subject) -> None:
        """Read which schemas the subject has."""
        began = self._clock.monotonic()
        writers: dict[int, _Writer | ValueError] = {}
        for number in await self._registry.versions(known.name):
            registered = await self._registry.version(known.name, number)
            if registered is None:
                continue  # deleted since the listing
            try:
                schema = admit(known.name, registered.text)
            except ValueError as error:
                writers[registered.schema_id] = error
                continue
            if not self._pin(registered.schema_id, schema):
                await self.verify()
                raise RegistryAway(self._other_meaning(registered.schema_id))
            same = schema.fingerprint == known.reader.fingerprint
            writers[registered.schema_id] = _Writer(
                schema.parsed,
                None if same else known.reader.parsed,
                sole_branches(schema, known.reader),
            )
        if known.schema_id not in writers:
            # A registry that lost its contents, or another one: what it lacks proves nothing.
            await self.verify()
            raise RegistryAway(
                f"the registry at {self._registry.url} no longer lists our schema id "
                f"{known.schema_id} under {known.name}: restore it, or register anew and restart"
            )
        known.writers, known.listed_at, known.strangers = writers, began, {}

    async def _stranger(self, known: _Subject, schema_id: int) -> InvalidRecord:
        """Say why an id is not one of the subject's, asking about a few ids for each listing."""
        reason = known.strangers.get(schema_id)
        if reason is None and len(known.strangers) < _STRANGERS_ASKED:
            text = await self._registry.by_id(schema_id)
            reason = "unknown_schema" if text is None else "foreign_schema"
            known.strangers[schema_id] = reason
        where = f"{known.name} in the registry at {self._registry.url}"
        return InvalidRecord(reason or "unknown_schema", f"schema id {schema_id} is not in {where}")

    def _pin(self, schema_id: int, schema: Schema) -> bool:
        """Hold the registry to what an id meant before: another meaning would misread records."""
        return self._pins.setdefault(schema_id, schema.fingerprint) == schema.fingerprint

    def _other_meaning(self, schema_id: int) -> str:
        return (
            f"the registry at {self._registry.url} gives schema id {schema_id} another meaning "
            "than before: was it reset? Restore it before anything is read or written"
        )


def _is_ours(known: _Subject, text: str) -> bool:
    """Tell whether a text is our schema in the registry's spelling."""
    if text != known.proven:
        try:
            if admit(known.name, text).fingerprint != known.reader.fingerprint:
                return False
        except ValueError:
            return False
        known.proven = text
    return True


def _read(data: bytes, writer: _Writer) -> dict[str, Any]:
    """Decode what follows the header."""
    source = BytesIO(data)
    source.seek(_HEADER)
    try:
        value: Any = schemaless_reader(
            source,
            writer.parsed,
            writer.ours,
            return_record_name=True,
            return_record_name_override=True,
        )
    except Exception as error:
        # Bytes that end within a number make an IndexError, as a wrong branch of a union does.
        ended = isinstance(error, EOFError | IndexError) and source.tell() == len(data)
        reason = "truncated" if ended else "undecodable"
        raise InvalidRecord(reason, _shown(error)) from error
    if source.tell() != len(data):
        extra = len(data) - source.tell()
        raise InvalidRecord("trailing_bytes", f"{extra} bytes after the value")
    for name, branch in writer.sole.items():
        value[name] = (branch, value[name])
    # fastavro matches named types by name alone: a fixed of four bytes for a record, and others.
    if writer.ours is not None and not validate(value, writer.ours, raise_errors=False):
        raise InvalidRecord("undecodable", "its schema gives values that ours cannot have")
    return value  # type: ignore[no-any-return]


def _shown(error: Exception) -> str:
    """Name an error of fastavro, whose texts quote whole schemas and values."""
    return f"{type(error).__name__} {str(error)[:_QUOTED]}".rstrip()
