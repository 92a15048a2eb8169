"""Improve: a model that learns from its own sound solutions, round by round (STaR). An application of run and train.

Contract: what is finished is read again, not done again; only known answers judge what is kept.
Start reading: rounds.py, then course.py.
"""
