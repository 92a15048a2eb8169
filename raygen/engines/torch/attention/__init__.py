"""Attention over slots: each token of a pass sees its own sample, with the same bits in any company.

Start reading: over_slots.py.
"""
