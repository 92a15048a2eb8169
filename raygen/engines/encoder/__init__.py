"""The encoder engine: vectors of embedders and probabilities of classifiers, batched by padded length.

Start reading: engine.py.
"""
