"""Driver: the side of a training that starts workers, watches them and tells people.

Contract: computes nothing; a killed driver loses nothing that a checkpoint holds.
Start reading: launch.py.
"""
