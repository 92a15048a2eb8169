"""Families: what is particular to a kind of model: its examples, its loss, its measures, how it is saved.

Start reading: base.py, then classifier.py.
"""
