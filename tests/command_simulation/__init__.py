"""The command side in simulated worlds: real code, simulated time, Kafka and API."""
