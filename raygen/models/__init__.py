"""Models: families (families.py), where weights come from (fetch/), what a family computes (text/), how alike (stable/).

Contract: knows files and tensors; knows no engine, no job and no Ray.
Start reading: fetch/reference.py.
"""
