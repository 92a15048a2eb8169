"""WordNet pairs: natural-language inference whose labels follow from WordNet, split by word.

Start reading: pairs.py.
"""
