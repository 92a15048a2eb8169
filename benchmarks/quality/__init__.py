"""Quality: what checks and votes are worth, by labels."""
