"""The real source on simulated time, a simulated API and a simulated Kafka, by seed."""
