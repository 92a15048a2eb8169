"""Serve: models behind HTTP: OpenAI-compatible endpoints, files and batches, in one process or on Ray Serve.

Contract: object storage is the only state; any process may die at any moment, and a batch is a run. `cluster/` alone imports
ray.serve: all else is the same in one process (`raygen serve --inline`) and on a cluster.
Start reading: config.py.
"""
