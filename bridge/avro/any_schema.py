"""Decoding for people who look at topics: any record, by the schema that wrote it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from fastavro import schemaless_reader

from bridge.avro.registry import Registry
from bridge.avro.schema import Schema, admit
from bridge.errors import InvalidRecord, Undecodable


class SchemaDecoder:
    """Decodes any value in the wire format with the schema that wrote it."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._schemas: dict[int, Schema] = {}

    async def decode(self, data: bytes) -> Any:
        """Return the value; timestamps are integers, microseconds UTC.

        Raises InvalidRecord if it cannot be decoded, RegistryAway.
        """
        if isinstance(data, Undecodable):
            raise data.error
        if len(data) < 5 or data[0] != 0:
            raise InvalidRecord("wrong_magic", "not in the wire format of Avro")
        schema = await self._schema(int.from_bytes(data[1:5], "big"))
        body = BytesIO(data[5:])
        try:
            value = schemaless_reader(body, schema.parsed, None)
        except Exception as error:
            raise InvalidRecord("undecodable", f"{type(error).__name__} {error}") from error
        if body.read(1):
            raise InvalidRecord("trailing_bytes", "more bytes than its schema describes")
        return value

    async def _schema(self, schema_id: int) -> Schema:
        if schema_id not in self._schemas:
            text = await self._registry.by_id(schema_id)
            if text is None:
                raise InvalidRecord("unknown_schema", f"the registry lacks schema id {schema_id}")
            try:
                self._schemas[schema_id] = admit(str(schema_id), text)
            except ValueError as error:
                raise InvalidRecord("foreign_schema", f"schema id {schema_id}: {error}") from error
        return self._schemas[schema_id]
