"""Metrics: numbers that say how good a model is, and how sure that is.

Contract: plain functions over arrays; no run, no page.
Start reading: classification.py.
"""
