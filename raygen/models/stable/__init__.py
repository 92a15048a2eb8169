"""Stable: the same numbers for a row whatever else is in its batch, on this kind of machine.

Start reading: products.py; why: docs/decisions/0006-the-text-engine.md and
docs/decisions/0012-the-yardstick.md.
"""
