"""The command line. Each command says what it does and calls a room; the work is done there.

Contract: the only reader of argv; errors become one line and an exit code.
Start reading: main.py.
"""
