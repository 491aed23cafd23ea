"""Runs' own lists compared with what is published: nothing of a run that is over is missing."""
