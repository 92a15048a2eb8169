"""Show some outcomes of a run, finished or not."""

from __future__ import annotations

import base64
import itertools
import textwrap
from collections.abc import Iterator
from typing import Any

from raygen.engines.finish import LENGTH
from raygen.errors import ConfigError, KeyNotFoundError
from raygen.formatting import visible
from raygen.json_text import write_json
from raygen.review.beside import beside, medium
from raygen.runs.commit import Commit, committed_chunks, read_commits, read_data
from raygen.runs.outcome import OWN_COLUMNS, STATUSES, outcome_rows
from raygen.runs.retries import Merged, read_merged
from raygen.runs.status import planned
from raygen.storage import Store, open_store

MOST, BESIDE_MOST = 2000, 300  # characters of a sample's text, and of what stands beside it
FOUND = 300  # of what is wrong with a row
WIDEST = 60  # characters of a kept value


def check_status(status: str | None) -> None:
    """Refuse what is no status. Raises ConfigError."""
    if status is not None and status not in STATUSES:
        raise ConfigError(f"--status {status!r}: allowed: {', '.join(STATUSES)}")


def chunks_of(store: Store) -> Iterator[tuple[Store, Commit]]:
    """Yield the chunks that count so far, as they were committed: of a finished run the merged ones. Raises UserError."""
    try:
        yield from read_merged(store).chunks
    except KeyNotFoundError:
        planned(store)
        yield from ((store, commit) for commit in read_commits(store, sorted(committed_chunks(store))))


def merged_of(store: Store) -> Merged | None:
    """Return the view of a finished run; of another None: which rows are duplicates is not known before the end."""
    try:
        return read_merged(store)
    except KeyNotFoundError:
        return None


def outcomes_of(store: Store, status: str | None) -> Iterator[dict[str, Any]]:
    """Yield outcomes as plain dicts, chunk by chunk, only reading chunks that have the status."""
    merged = merged_of(store)
    for where, commit in chunks_of(store):
        counts = commit.counts if merged is None else merged.counts(commit)
        if status is None or counts[status]:
            table = read_data(where, commit) if merged is None else merged.read(where, commit)
            for row in outcome_rows(table):
                if status is None or row["status"] == status:
                    yield row


def show_rows(run_uri: str, number: int, status: str | None, as_json: bool) -> Iterator[str]:
    """Yield lines for the first `number` rows."""
    check_status(status)
    store = open_store(run_uri)
    rows = list(itertools.islice(outcomes_of(store, status), number))
    if not rows and not as_json:
        none = (
            "no rows yet"
            if merged_of(store) is None
            else "no rows: the source of this finished run held none"
        )
        yield f"no {status} rows" if status else none
    for row in rows:
        if as_json:
            row.pop("fingerprint", None)
            yield write_json(row, default=plain).decode()
        else:
            yield from _lines(row)
    media = any(sample["text"] is None for row in rows for sample in row["samples"])
    if media and not as_json and merged_of(store) is not None:  # only a finished run is exported
        yield f"to get the files: raygen export {run_uri} --format webdataset --to DIR"


def plain(value: Any) -> Any:
    """Return a form for what JSON has none for: bytes as base64, everything else (dates, decimals) as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray) else str(value)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    kept = ", ".join(f"{key}={_in_a_line(value)}" for key, value in row.items() if key not in OWN_COLUMNS)
    yield (
        f"{visible(row['row_id'])}  {row['status']}"
        + (f" ({row['reason']})" if row["reason"] else "")
        + (f"  {kept}" if kept else "")
        + (f"  ({len(row['discarded'])} discarded)" if row["discarded"] else "")
    )
    if row["error"]:
        yield f"    {row['error']['step']}: {visible(row['error']['message'])}"
    elif (finding := _finding(row)) is not None:
        yield f"    {finding['step']}: {_in_a_line(finding['detail'], FOUND)}"
    for sample in row["samples"]:
        text = shown(sample["text"], MOST) if sample["text"] is not None else medium(sample)
        if sample["answer"] is not None:
            text += f"  => {shown(sample['answer'], MOST)}"
        if sample["finish_reason"] == LENGTH:
            text += "  (cut off at max_tokens)" if text.strip() else "(empty, cut off at max_tokens)"
        indent = f"    {sample['index']}: "
        yield from textwrap.wrap(text, 110, initial_indent=indent, subsequent_indent=" " * 7) or [
            f"{indent}(empty)"
        ]
        for name, words in beside(sample):
            said = f"{name}: {shown(words, BESIDE_MOST)}"
            yield from textwrap.wrap(said, 110, initial_indent=" " * 7, subsequent_indent=" " * 9)


def _finding(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the decision that says why a row is rejected, in words."""
    reasons = (each for each in reversed(row["attempts"]) if each["decision"] == row["reason"])
    return next((each for each in reasons if each["detail"]), None)


def _in_a_line(value: Any, most: int = WIDEST) -> str:
    as_json = value is None or isinstance(value, dict | list | bool)  # null and true, as in the input
    as_text = write_json(value, default=plain).decode() if as_json else str(value)
    text = " ".join(visible(as_text).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shown(text: str, most: int) -> str:
    """Return a text for a terminal; of a longer one than `most` characters its beginning."""
    if len(text) <= most:
        return visible(text)
    return f"{visible(text[:most])} … ({len(text) - most:,} more characters; --json has all)"
