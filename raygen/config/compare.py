"""Compare plain values: which keys differ, each with what it was and what it is now."""

from __future__ import annotations

from typing import Any

import orjson

LONGEST_VALUE = 60  # characters of a value that are shown


def changed_keys(before: Any, now: Any, path: str = "") -> list[str]:
    """Return the keys that differ between two plain values, in order, each with both values.

    Args:
        path: the key under which the values stand; empty for whole records.

    Example:
        >>> changed_keys({"seed": 1, "keep": ["a"]}, {"seed": 2, "keep": ["a"]})
        ['seed was 1, now 2']
    """
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for key in sorted({*before, *now})
            for difference in changed_keys(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            difference
            for place, pair in enumerate(zip(before, now, strict=True))
            for difference in changed_keys(*pair, f"{path}.{place}")
        ]
    return [] if before == now else [f"{path} was {_short(before)}, now {_short(now)}"]


def first_of(differences: list[str], most: int = 4) -> str:
    """Return the first differences as one text, with the number of those left out.

    Example:
        >>> first_of(["seed was 1, now 2", "keep.0 was 3, now 4"], most=1)
        'seed was 1, now 2; and 1 more'
    """
    more = f"; and {len(differences) - most} more" if len(differences) > most else ""
    return f"{'; '.join(differences[:most])}{more}"


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
