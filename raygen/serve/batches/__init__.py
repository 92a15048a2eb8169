"""Files and batches: a batch is a run, and its status is what stands in the store.

Contract: every object is created once and never changed; `end.json` settles every race. Nothing depends on who works.
"""
