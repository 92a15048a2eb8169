"""Train: a recipe becomes a model directory that transformers loads as it is.

Contract: the same weights on any number of workers, up to rounding, and after any kill; bounded memory. Imports of its
rooms go down: driver, then loop, then prepare, then families.
Start reading: recipe.py, then run.py.
"""
