"""The settings: their models, where they come from, and what is checked."""
