"""`mission-bridge demo`."""
