"""Kafka: transactions, consumer groups, leases and topics, over aiokafka."""
