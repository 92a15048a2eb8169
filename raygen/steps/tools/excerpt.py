"""Excerpt: the beginning and the end of a text, for decisions and findings of bounded length."""

from __future__ import annotations

GAP = " ... "


def excerpt(text: str, most: int) -> str:
    """Return a text on one line, of `most` characters at most: a longer one loses its middle.

    >>> excerpt("one two three four five", 17)
    'one tw ... r five'
    """
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    left = most - len(GAP)
    start = -(-left // 2)
    return f"{line[:start].rstrip()}{GAP}{line[len(line) - (left - start) :].lstrip()}"
