"""Avro: schemas, the registry, and the bytes of records."""
