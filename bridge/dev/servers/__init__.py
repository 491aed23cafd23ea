"""Kafka and a registry as local processes or containers."""
