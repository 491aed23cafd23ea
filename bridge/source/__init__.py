"""From the API's page-numbered feed of events to Kafka, each event exactly once."""
