"""Reports: a run or a training as one HTML file that needs no network, safe against hostile text.

Start reading: summary.py (the numbers), then run.py (the page).
"""
