"""Subcommands about a source: comparing, explaining, repairing, moving it."""
