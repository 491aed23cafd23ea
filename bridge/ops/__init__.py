"""What operators see of a running bridge: health, metrics, status."""
