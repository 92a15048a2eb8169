"""Improve: a model that learns from its own sound solutions, round by round (STaR). An application of run and train.

Start reading: rounds.py.
"""
