"""Reading a list that shows the newest first, a page at a time, while it grows."""
