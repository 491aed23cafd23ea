"""Mission Bridge: Telnyx AI Missions to Apache Kafka and back."""

__version__ = "0.1.0"
