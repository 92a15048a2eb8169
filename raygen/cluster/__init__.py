"""Cluster: everything that raygen needs of Ray itself.

To connect, to keep consoles quiet, to start actors beside the driver, to let errors travel between processes, to export metrics.

Contract: knows no run and no training; pipeline and train stand on it.
Start reading: connect.py, then errors_as_text.py.
"""
