"""Loop: the training itself: the same curve on any number of workers, resumable after any kill.

Contract: knows costs, weights and phases, and nothing of any family's examples; knows no driver.
Start reading: training.py, then optimizer_step.py.
"""
