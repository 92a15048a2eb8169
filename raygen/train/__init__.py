"""Train: a recipe becomes a model directory that transformers loads as it is.

Start reading: recipe.py, then run.py.
"""
