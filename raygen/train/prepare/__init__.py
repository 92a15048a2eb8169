"""Prepare: rows become blocks, once: cleaned, deduplicated, split, tokenised, packed, in bounded memory.

Start reading: prepare.py.
"""
