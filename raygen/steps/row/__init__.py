"""Row: what all steps share about the row at hand: its story, its calls to models, its record and its seeds.

Start reading: story.py.
"""
