"""What the command line does with a source: compare, explain, repair, rewind."""
