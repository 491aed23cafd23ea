"""What several test modules need: brokers, a registry, and independent readers of topics."""
