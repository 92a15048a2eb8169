"""Data sets that raygen makes itself, with labels that are right by construction: `raygen data NAME`.

Contract: seeded; the same rows for everybody. Nothing else in raygen needs them.
Start reading: python_docs.py.
"""
