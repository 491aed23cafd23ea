"""From items to the records of one transaction."""
