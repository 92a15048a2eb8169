"""Text tools: templates, chats, words, near-duplicates, personal data.

Contract: plain functions over values; no model, no store, no configuration of a job.
Start reading: template.py.
"""
