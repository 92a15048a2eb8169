"""Prepare: rows become blocks, once: cleaned, deduplicated, split, encoded, packed, in bounded memory.

Contract: blocks depend on the recipe and the rows alone; nothing counts before prepared.json is there.
Start reading: prepare.py.
"""
