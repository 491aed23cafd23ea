"""What the verbs ask of the API, and what its answers say."""
