"""Memory of the torch engine: one arena of keys and values, its pages, prefixes that requests share, and the budget.

Start reading: arena.py.
"""
