"""Formatting: numbers, counts, shares and times for people; untrusted values made fit for a page or a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

# Controls but tab and newline; bidirectional overrides and isolates, which reorder what is read; zero-width
# spaces, line separators, lone surrogates (no UTF-8) and the two code points that XML forbids. Joiners stay:
# emoji and Persian need them.
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def visible(text: str) -> str:
    r"""Return `text` with every character that shows nothing replaced by its escape: \x00, \u202e."""
    return _HIDDEN.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def number(value: float) -> str:
    """Return `1204` as 1,204; from 10 on fractions are left out, below they keep three significant digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 10 else f"{value:.3g}"


def count(value: float, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number(value)} {singular if value == 1 else plural or singular + 's'}"


def share(part: float, whole: float) -> str:
    """Return `part` of `whole` in percent. Only all is 100% and only nothing is 0%: rounding never hides a row."""
    if whole <= 0:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1%"
    if 99.9 < percent < 100:
        return ">99.9%"
    return f"{percent:.1f}".removesuffix(".0") + "%"


def duration(seconds: float | None, *, whole: bool = False) -> str:
    """Return a length of time in its two leading units: `4.2 s`, `3 min 5 s`, `8 h 3 min`, `2 d 4 h`; `-` if unknown.

    Args:
        seconds: None, not a number, or more than three years: unknown.
        whole: leave fractions of a second out, for figures that are redrawn or estimated.
    """
    if seconds is None or not seconds <= 1e8:
        return "-"
    seconds = round(seconds) if whole else seconds
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s" if seconds < 59.95 else "1 min"
    rounded = round(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if rounded >= size:
            rest = rounded % size // below
            return f"{rounded // size} {unit}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(seconds)


def cut(text: str, chars: int) -> str:
    """Return `text`, or its first `chars` characters and how many more there are."""
    return text if len(text) <= chars else f"{text[:chars]} … ({number(len(text) - chars)} more characters)"


def bounded(value: Any, *, items: int = 20, chars: int = 2000, depth: int = 8) -> Any:
    """Return `value` as what JSON can hold: long lists, mappings and strings cut, bytes as their size.

    Args:
        value: what rows hold: JSON-like, or bytes.
        items: how many members of a list or mapping are kept.
        chars: how many characters of a string are kept.
        depth: levels of nesting that are kept.
    """
    if isinstance(value, str):
        return cut(value, chars)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({count(len(bytes(value)), 'byte')})"
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        kept = list(value.items())[:items]
        short = {
            cut(str(key), 200): bounded(member, items=items, chars=chars, depth=depth - 1)
            for key, member in kept
        }
        if len(value) > items:
            short["…"] = f"({number(len(value) - items)} more)"
        return short
    if isinstance(value, list | tuple | set | frozenset):
        members = [bounded(m, items=items, chars=chars, depth=depth - 1) for m in list(value)[:items]]
        return members if len(value) <= items else [*members, f"… ({number(len(value) - items)} more)"]
    return cut(str(value), chars)


def as_text(value: Any, *, items: int = 20, chars: int = 2000) -> str:
    """Return a value as text: strings as they are, all else as indented JSON, cut as by `bounded`."""
    short = bounded(value, items=items, chars=chars)
    return short if isinstance(short, str) else json.dumps(short, indent=2, ensure_ascii=False)
