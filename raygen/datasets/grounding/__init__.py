"""Grounding: pairs of a premise and a statement, out of any prose: what follows from it, and what does not.

Start reading: pairs.py.
"""
