"""Pipeline: a job's chunks through engines, on Ray or inline, until every chunk is committed.

Contract: may be killed at any moment; what counts is in the run store.
Start reading: run.py, then work.py, then execute.py (Ray) or inline.py.
"""
