"""Runs: plan, commit, manifest, resume, collect. Exactly-once lives here; knows no Ray and no model."""
