"""Media: pictures (and, later, sound and video) as bytes: checked before they are decoded.

Contract: only formats that are safe to parse, within bounds of bytes and pixels.
Start reading: images.py.
"""
