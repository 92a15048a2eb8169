"""Review: everything that asks a finished (or running) run a question: show, trace, verify, export.

Contract: reads a run, writes nothing into it.
Start reading: show.py.
"""
