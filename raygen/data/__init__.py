"""Data: from bytes in a store to rows, and the tools that read text and media in them.

Contract: the same bytes give the same rows every time, any range can be read again, and a broken row is a row with an error.
Start reading: sources/base.py.
"""
