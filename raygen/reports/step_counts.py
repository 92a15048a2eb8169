"""Step counts: what each step of a program did, counted over chunks of outcomes, column by column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.program.job import Job
from raygen.reports.data import StepFigures
from raygen.runs.outcome import ACCEPTED, REJECTED
from raygen.steps.row.story import DROPPED, GOES_ON, MADE
from raygen.steps.spec import step_names
from raygen.usage import OUTPUT_TOKENS, Usage


@dataclass(slots=True)
class StepCounts:
    """Sums over the chunks that were added."""

    job: Job
    rows: int = 0
    accepted: int = 0
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)  # step, decision: about samples
    ended: Counter[str] = field(
        default_factory=Counter
    )  # rows without an accepted sample, by the last step they came to
    mended: Counter[str] = field(default_factory=Counter)  # refined samples that nothing rejected, by step
    made: dict[str, Usage] = field(
        default_factory=dict
    )  # of the samples that a step asked for: what they are

    def add(self, table: pa.Table) -> None:
        """Count a chunk's outcomes."""
        self.rows += table.num_rows
        self.accepted += pc.sum(pc.equal(table.column("status"), ACCEPTED)).as_py() or 0
        flat = _flat(table)
        about = flat.filter(pc.is_valid(pc.field("sample")))
        for step, decision, count in _counts(about, "step", "decision"):
            self.decisions[step, decision] += count
        self._end(table, flat)
        self._mend(about)
        for column in ("samples", "discarded"):
            samples = table.column(column).combine_chunks().flatten()
            spent = pa.table(
                {"step": samples.field("step"), "n": samples.field("usage").field("output_tokens")}
            )
            for each in spent.group_by("step", use_threads=False).aggregate([("n", "sum")]).to_pylist():
                self._made(each["step"], {OUTPUT_TOKENS: each["n_sum"] or 0})
            units = samples.field("usage").field("units")
            if units.null_count < len(units):
                for step, held in zip(samples.field("step").to_pylist(), units.to_pylist(), strict=True):
                    self._made(step, dict(held or ()))

    def _made(self, step: str, usage: Mapping[str, float]) -> None:
        self.made[step] = self.made.get(step, Usage()) + usage

    def _end(self, table: pa.Table, flat: pa.Table) -> None:
        """Count where rows ended: one that was refined in vain ended with the refinement, though a check had the last word."""
        place = {name: n for n, name in enumerate(step_names(self.job.steps))}
        known = flat.column("step").to_numpy(zero_copy_only=False)
        places = np.array([place.get(name, -1) for name in known], np.int64)
        furthest = np.full(table.num_rows, -1, np.int64)
        np.maximum.at(furthest, flat.column("row").to_numpy(), places)
        lost = pc.not_equal(table.column("status"), ACCEPTED).to_numpy(zero_copy_only=False)
        names = list(place)
        for number, count in zip(*np.unique(furthest[lost], return_counts=True), strict=True):
            self.ended[names[number] if number >= 0 else "read"] += int(count)

    def _mend(self, about: pa.Table) -> None:
        keys = about.column("row").to_numpy() * 2**32 + about.column("sample").to_numpy()
        refined = pc.equal(about.column("decision"), "refined").to_numpy(zero_copy_only=False)
        if not refined.any():
            return
        fine = pa.array([*GOES_ON, DROPPED])
        rejected = ~pc.is_in(about.column("decision"), value_set=fine).to_numpy(zero_copy_only=False)
        good = refined & ~np.isin(keys, keys[rejected])
        for step, count in Counter(about.column("step").filter(pa.array(good)).to_pylist()).items():
            self.mended[step] += count

    def figures(self) -> list[StepFigures]:
        """Return each step's figures, in the order of the program."""
        found = []
        left = self.rows - self.ended["read"]
        for name, step in zip(step_names(self.job.steps), self.job.steps, strict=True):
            said = {decision: n for (where, decision), n in self.decisions.items() if where == name}
            made = sum(said.get(each, 0) for each in MADE)
            rejected = sum(n for decision, n in said.items() if decision not in (*GOES_ON, DROPPED))
            taken = made or sum(said.values())
            if step.kind.mends:
                rejected = made - self.mended[name]
            dropped = said.get(DROPPED, 0)
            left -= self.ended[name]
            found.append(
                StepFigures(
                    name, step.verb, taken, taken - rejected - dropped, rejected, dropped,
                    rows_ended=self.ended[name], rows_left=left, made=self.made.get(name, Usage()),
                )
            )  # fmt: skip
        return found


def _flat(table: pa.Table) -> pa.Table:
    """Return decisions as rows, with the place of their outcome in `row`."""
    attempts = table.column("attempts").combine_chunks()
    flat = attempts.flatten()
    columns = {name: flat.field(name) for name in ("step", "sample", "decision", "detail")}
    return pa.table({"row": pc.list_parent_indices(attempts).cast(pa.int64()), **columns})


def _counts(table: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    counted = table.group_by(list(names), use_threads=False).aggregate([([], "count_all")])
    yield from zip(*(counted.column(name).to_pylist() for name in (*names, "count_all")), strict=True)


class RejectedRow(NamedTuple):
    """A rejected row: the step that rejected its last sample, the reason, and what was found."""

    row_id: str
    step: str | None
    reason: str
    finding: str | None


def rejections_of(table: pa.Table) -> Iterator[tuple[int, RejectedRow]]:
    """Yield, for each step and reason of a chunk, how many rows were rejected so, and the first of them."""
    table = table.filter(pc.equal(table.column("status"), REJECTED)).combine_chunks()
    flat = _flat(table)
    reasons = table.column("reason").take(flat.column("row"))
    flat = flat.filter(pc.fill_null(pc.equal(flat.column("decision"), reasons), False))
    rows = flat.column("row").to_numpy()
    # The last decision with the row's own reason. A row without one has been made by a step that says no more.
    last = np.flatnonzero(np.append(rows[1:] != rows[:-1], True)) if len(rows) else np.array([], np.int64)
    final = flat.take(pa.array(last))
    place = dict(zip(final.column("row").to_pylist(), range(final.num_rows), strict=True))
    steps, details = final.column("step").to_pylist(), final.column("detail")
    counts: Counter[tuple[str | None, str]] = Counter()
    first: dict[tuple[str | None, str], int] = {}
    for row, reason in enumerate(table.column("reason").to_pylist()):
        key = (steps[place[row]] if row in place else None, reason)
        counts[key] += 1
        first.setdefault(key, row)
    for (step, reason), count in counts.items():
        row = first[step, reason]
        finding = details[place[row]].as_py() if row in place else None
        yield count, RejectedRow(table.column("row_id")[row].as_py(), step, reason, finding)


def score_names(job: Job) -> list[str]:
    """Return the scores that a job's final samples may have, the one that says most first: by which it selects."""
    found: list[str] = []
    for name, step in zip(step_names(job.steps), job.steps, strict=True):
        if step.kind.begins:
            found = []
        best = [step.config.best] if step.verb == "select" and step.config.best is not None else []
        found = [*best, *(sorted(step.kind.scores(step.config, name))), *found]
    return list(dict.fromkeys(found))


class Ranked(NamedTuple):
    """Accepted rows by a score of their first sample: the highest, the middle and the lowest."""

    score: str
    scored: int  # accepted rows that have it
    rows: Sequence[
        tuple[str, float, int, int]
    ]  # what it is, the score, its chunk among those given, its place there


class Ranking:
    """Scores of accepted rows, chunk by chunk."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._found: dict[str, list[tuple[int, np.ndarray, np.ndarray]]] = {name: [] for name in names}

    def add(self, chunk: int, table: pa.Table) -> None:
        samples = table.column("samples").combine_chunks()
        has = pc.and_(
            pc.equal(table.column("status"), ACCEPTED), pc.greater(pc.list_value_length(samples), 0)
        )
        places = np.flatnonzero(has.to_numpy(zero_copy_only=False))
        if not len(places):
            return
        firsts = samples.flatten().take(
            pa.array(samples.offsets.to_numpy()[places] - samples.offsets[0].as_py())
        )
        for name in self._names:
            values = pc.map_lookup(firsts.field("scores"), name, "first").to_numpy(zero_copy_only=False)
            values = values.astype(np.float64)
            known = np.isfinite(values)
            if known.any():
                self._found[name].append((chunk, places[known], values[known]))

    def ranked(self) -> Ranked | None:
        """Return the first of the names that rows have; None: they have none."""
        for name in self._names:
            if found := self._found[name]:
                chunks = np.concatenate([np.full(len(values), chunk) for chunk, _, values in found])
                places = np.concatenate([place for _, place, _ in found])
                scores = np.concatenate([values for *_, values in found])
                order = np.argsort(-scores, kind="stable")
                wanted = {"highest": order[0], "median": order[len(order) // 2], "lowest": order[-1]}
                seen: dict[int, str] = {}
                for what, at in wanted.items():
                    seen.setdefault(int(at), what)
                rows = [
                    (what, float(scores[at]), int(chunks[at]), int(places[at])) for at, what in seen.items()
                ]
                return Ranked(name, len(scores), rows)
        return None
