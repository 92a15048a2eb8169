"""Texts on the wire: what chat completions and completions share: what a body asks for, and the parts of an answer.

Start reading: body.py, then asking.py.
"""
