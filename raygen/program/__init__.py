"""Program: a job as a whole, and what becomes of it: validated, prepared, pinned to weights, and run on a row.

Contract: works with Ray and without; the run and the service both stand on it.
Start reading: job.py, then prepare.py, then program.py.
"""
