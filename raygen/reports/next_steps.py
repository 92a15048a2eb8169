"""Next steps: what to do about rows of a finished run. A retry is offered for what may pass."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from raygen.config.model import THINK
from raygen.reports.remedies import OF_EITHER, OF_THE_INPUT, PASSING, REMEDIES
from raygen.runs.commit import read_data
from raygen.runs.outcome import FAILED
from raygen.runs.retries import read_merged
from raygen.storage import open_store

CHUNKS = 16  # with failed rows, that are looked at
TOLD = 5  # codes


def next_steps(uri: str) -> list[str]:
    """Return lines for people."""
    store = open_store(uri)
    failed = [place for place in read_merged(store).chunks if place[1].counts[FAILED]]
    step = -(-len(failed) // CHUNKS)
    codes: Counter[str] = Counter()
    for where, commit in islice(failed, 0, None, max(1, step)):
        table = read_data(where, commit)
        codes.update(_codes(table))
    return steps_for(codes, uri, sampled=step > 1)


def _codes(table: pa.Table) -> list[str]:
    errors = table.filter(pc.equal(table.column("status"), FAILED)).column("error").combine_chunks()
    return [str(code) for code in errors.field("code").to_pylist()]


def reasoning_in_texts(uri: str) -> list[str]:
    """Say whether texts begin with reasoning that nobody took off. Only the first chunk with samples is looked at."""
    store = open_store(uri)
    places = (
        place
        for place in read_merged(store).chunks
        if place[1].counts[FAILED] < sum(place[1].counts.values())
    )
    for where, commit in islice(places, 1):
        samples = pc.list_flatten(read_data(where, commit).column("samples").combine_chunks())
        texts = pc.utf8_ltrim_whitespace(samples.field("text"))
        if pc.any(pc.starts_with(texts, THINK[0])).as_py():
            return [
                f"texts begin with {THINK[0]}: reasoning is part of them. `reasoning_tags: true` beside the model's "
                "`engine` keeps it apart"
            ]
    return []


def steps_for(codes: Counter[str], uri: str, *, sampled: bool) -> list[str]:
    """Say what to do about rows that failed with these codes.

    Args:
        sampled: were only some of them looked at? Then they are not counted.
    """
    lines = [f"see why rows failed: raygen show {uri} --status failed"]
    told = [code for code, _ in codes.most_common()]
    passing = [code for code in told if code in PASSING]
    lasting = [code for code in told if code not in PASSING]
    again = f"raygen retry {uri} --errors-only"
    if passing:
        lines.append(f"{_named(passing, codes, sampled)} may pass: {again}")
    for code in lasting[:TOLD]:
        what = REMEDIES.get(code, "The message says why.")
        lines.append(
            f"{_named([code], codes, sampled)} would fail again. {what} Then {_then(code, uri, again)}"
        )
    if len(lasting) > TOLD:
        lines.append(f"others would fail again, too: {', '.join(lasting[TOLD:])}")
    return lines


def _then(code: str, uri: str, again: str) -> str:
    """Say how rows are generated again once the cause is mended; a retry reads the input as it was."""
    anew = f"raygen run JOB --output NEW --reuse {uri}"
    if code in OF_THE_INPUT:
        return f"run the job on the mended input: {anew}"
    retry = f"{again} --set ..."
    return f"{retry}; or {OF_EITHER[code]}, then {anew}" if code in OF_EITHER else retry


def _named(codes: list[str], counts: Counter[str], sampled: bool) -> str:
    return ", ".join(code if sampled else f"{code} ({counts[code]:,})" for code in codes)
