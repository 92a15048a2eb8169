"""Sentences: where a text of prose may be cut."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?…])[\"”')\]]*\s+(?=[\"“'(\[*]*[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|cf|vs|etc|Mr|Mrs|Dr|No|resp|approx|[A-Z])\.$")


def sentences_of(text: str) -> list[str]:
    """Cut a text after `.`, `!`, `?` and `…` where a new sentence seems to begin, and between paragraphs.

    White space within a sentence becomes single spaces.
    """
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        start = 0
        for end in _END.finditer(block):
            if not _ABBREVIATION.search(block, start, end.start()):
                found.append(block[start : end.end()])
                start = end.end()
        found.append(block[start:])
    return [" ".join(each.split()) for each in found if each.strip()]
