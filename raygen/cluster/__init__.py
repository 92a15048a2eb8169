"""Cluster: all that raygen needs of Ray itself: to connect, to be quiet, to name causes, to export metrics.

Contract: knows no run and no training; they use it.
Start reading: connect.py.
"""
