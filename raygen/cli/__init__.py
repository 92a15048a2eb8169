"""The command line. Each command says what it does and calls a room; the work is done there.

Contract: the only reader of argv; errors become one line and an exit code. Loads no room before a command needs it.
Start reading: app.py.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line on `sys.argv`; ends the process with the command's exit code."""
    from raygen.cli.app import main as run

    run()
