"""Driver: the side of a training that starts workers, watches them and tells people.

Start reading: launch.py.
"""
