"""Partitions: columns that stand in the names of folders, as Hive, Spark and pyarrow write them: `lang=en/year=2024/`."""

from __future__ import annotations

from urllib.parse import unquote

NULL = "__HIVE_DEFAULT_PARTITION__"


def partitions_of(uri: str) -> dict[str, str | None]:
    """Return the columns that the folders of an input name, with their values; of one named twice the innermost.

    Values are text, whatever they look like: so `year=2024` does not change its type, nor `month=01` its zero, when a
    folder `year=unknown` arrives.
    """
    found = {}
    for folder in uri.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            found[_plain(name)] = None if value == NULL else _plain(value)
    return found


def _plain(text: str) -> str:
    """Undo percent signs; a text that they do not make UTF-8 stays as it is."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
