"""Subcommands about commands: sending, holding back, dead letters."""
