"""Config: the descriptions that several rooms share, and how a file becomes one.

Contract: frozen pydantic models; every unknown key is refused by name, with the keys that are allowed. What describes one
step, check or engine stands beside that step, check or engine instead.
Start reading: base.py (what every description is), then files.py (YAML, `--set`, and the words of its errors).
"""
