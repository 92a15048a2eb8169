"""Loop: the training itself: the same curve on any number of workers, resumable after any kill.

Start reading: training.py.
"""
