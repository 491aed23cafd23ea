"""What is known of each command: kept in Kafka, read at a takeover, written with results."""
