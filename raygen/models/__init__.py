"""Model references: where weights come from, and their digests."""
