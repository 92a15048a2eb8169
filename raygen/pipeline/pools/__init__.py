"""Pools: actors for one model of a job (`placement: pooled`), scaled by the queue before it.

Start reading: pool.py.
"""
