"""Files and batches: a batch is a run, and its status is what stands in the store.

Contract: every object is created once and never changed; an `end` settles every race between completion, cancel and expiry.
Nothing depends on who works: any process may die at any moment, and any number of them may work on one batch.
Start reading: layout.py, then record.py (what a batch is), then driver.py (how one comes to its end).
"""
