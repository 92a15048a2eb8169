"""Families: what is particular to a kind of model: its examples, its loss, its measures, how it is saved.

Contract: a family's facts stand in raygen/models/families.py; what a recipe says of it (lessons.py) needs no torch; its
trainer (base.py) thinks about one device and knows no worker.
Start reading: base.py, then units.py, then classifier.py.
"""
