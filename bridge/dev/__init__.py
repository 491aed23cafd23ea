"""The simulated API and the embedded parts, for the demonstration and for tests alone."""
