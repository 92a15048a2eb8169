"""Models: where weights come from (fetch/), what a model family computes (text/), and how it computes alike (stable/).

Contract: knows files and tensors; knows no engine, no job and no Ray.
Start reading: fetch/reference.py.
"""
