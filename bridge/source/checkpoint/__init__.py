"""What a source has published and where it stands, and how that is kept in Kafka."""
