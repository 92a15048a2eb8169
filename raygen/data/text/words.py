"""Words: a text cut at everything that is neither a letter nor a digit, without regard to case."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """Return a text's words, in order.

    >>> words_of("Don't say “well-known” words, STRASSE!")
    ["don't", 'say', 'well-known', 'words', 'strasse']
    """
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]
