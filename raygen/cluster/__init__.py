"""Cluster: everything that raygen needs of Ray itself: connecting, quiet consoles, actors beside the driver, errors that
travel between processes, metrics.

Contract: knows no run and no training; pipeline and train stand on it.
Start reading: connect.py, then errors_as_text.py.
"""
