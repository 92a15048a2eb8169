"""Text: the torch engine beside others, and its proofs."""
