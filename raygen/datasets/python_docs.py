"""Python's own documentation, as CPython ships it, cut into passages: real prose that needs no download."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.errors import SourceError

FEWEST_WORDS = 25
SCHEMA = pa.schema([(name, pa.string()) for name in ("passage_id", "topic", "title", "text")])

_UNDERLINE = re.compile(r"[*=~^-]{3,}$")
_BULLET = re.compile(r"(?:[*•-]|\d+\.|\[\d+\]) +")
_SENTENCES = re.compile(r"""(?:["*]\w|[“'(]*[A-Z]).*[.!?:]["”*')]*(?: \[\d+\])?$""")


def write_passages(path: str | Path, max_words: int = 160) -> int:
    """Write the passages of CPython's language reference topics as Parquet, and return how many there are.

    Columns, all text: passage_id (such as `assert-001`), topic, title (of the section), text. A passage is
    one or more whole paragraphs of one section; grammar, code, tables and repeated paragraphs are left out.

    Args:
        path: a local file; its folder is made.
        max_words: of a passage; a single paragraph may be longer.

    Raises:
        SourceError: this Python comes without `pydoc_data`.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise SourceError(
            "this Python comes without its documentation (the module pydoc_data.topics)"
        ) from None
    rows = []
    seen: set[str] = set()
    for topic in sorted(topics):
        for number, (title, text) in enumerate(_passages(topics[topic], max_words, seen), 1):
            rows.append({"passage_id": f"{topic}-{number:03d}", "topic": topic, "title": title, "text": text})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return len(rows)


def _passages(document: str, max_words: int, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of each passage. `seen` holds the paragraphs of all documents so far."""
    title = ""
    held: list[str] = []
    for heading, paragraph in _blocks(document):
        full = _words(*held) + _words(paragraph) > max_words
        if held and (heading or full):
            if _words(*held) >= FEWEST_WORDS:
                yield title, "\n\n".join(held)
            held = []
        title = heading or title
        if paragraph and paragraph not in seen:
            seen.add(paragraph)
            held.append(paragraph)
    if _words(*held) >= FEWEST_WORDS:
        yield title, "\n\n".join(held)


def _blocks(document: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, "") or ("", paragraph) in order, without what is no prose."""
    for block in re.split(r"\n\s*\n", document):
        lines = [line.strip() for line in block.strip().splitlines()]
        if len(lines) == 2 and _UNDERLINE.match(lines[1]):
            yield lines[0].replace('"', ""), ""
            continue
        # Lines are wrapped behind hyphens too; the hyphen belongs to the word.
        text = re.sub(r"\s+", " ", re.sub(r"(?<=\w-)\n", "", "\n".join(lines)))
        text = _BULLET.sub("", text, count=1) if _BULLET.match(text) else text
        grammar = "::=" in text or ">>>" in text or text.startswith(("+-", "|"))
        # What leads to an example reads badly without it, unless it says something itself.
        leads = text.endswith(":") and _words(text) < 12
        if not grammar and not leads and _SENTENCES.match(text):
            yield "", text


def _words(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)
