"""Which commands are held back, by whom, and how that is told to every replica."""
