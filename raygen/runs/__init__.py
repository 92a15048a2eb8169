"""Runs: the run store. It alone decides what counts: a chunk is done when its commit is created, once.

Contract: object storage is the only state; knows no Ray, no job, no model and no step (of a job, plain values:
job_record.py). Every claim has a mutant that must be caught.
Start reading: plan.py, then commit.py, then manifest.py, and ledger.py for what a driver keeps of it; why:
docs/decisions/0001-exactly-once.md.
"""
