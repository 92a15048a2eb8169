"""Messages of fetching and loading models: one line each."""

from __future__ import annotations

import sys


def tell(line: str) -> None:
    """Say one line of progress, on stderr."""
    print(f"raygen: {line}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
