"""Models of a service: what holds one, the way to it, and what its name means.

Start reading: link.py.
"""
