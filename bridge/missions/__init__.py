"""The Missions API over HTTP: 26 operations, one rate budget, one gate for the key."""
