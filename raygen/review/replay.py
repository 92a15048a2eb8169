"""Replay: some rows of a run generated again, by the run's own settings, and compared with what was committed."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from raygen.data.sources import open_source
from raygen.data.sources.base import ROW_ID
from raygen.engines import engine_facts
from raygen.errors import RunConflictError
from raygen.formatting import count
from raygen.messages import Say
from raygen.program.host import EngineHost
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.program.resolve import as_planned, resolve_models
from raygen.runs.outcome import OWN_COLUMNS, UNASKED
from raygen.runs.plan import Plan
from raygen.runs.shelf import Bin

SHOWN = 20  # problems and differences listed


class Replayed(Protocol):
    """Where a replay writes down what it found."""

    replayed: int
    differing: int
    problems: list[str]
    notes: list[str]


def _of_this_job(chosen: dict[int, pa.Table], plan: Plan, found: Replayed) -> dict[int, pa.Table]:
    """Return the rows that this run's settings made; those that a retry made with others are no promise of theirs."""
    wanted = {}
    others = 0
    for chunk, table in sorted(chosen.items()):
        unasked = pa.compute.is_in(table.column("reason"), pa.array(sorted(UNASKED)))
        asked = table.filter(pa.compute.invert(unasked))  # of the others nothing was generated
        lineage = asked.column("lineage").combine_chunks()
        kept = asked.filter(pa.compute.equal(lineage.field("config_hash"), plan.config_hash))
        others += asked.num_rows - kept.num_rows
        if kept.num_rows:
            wanted[chunk] = kept
    if others:
        made = "it" if others == 1 else "them"
        found.notes.append(f"{count(others, 'row')} not replayed: a retry made {made} with other settings")
    return wanted


def replay_rows(found: Replayed, plan: Plan, job: Job, chosen: dict[int, pa.Table], say: Say) -> None:
    """Generate the chosen rows again, and note in `found` which came out otherwise.

    Args:
        chosen: outcomes by chunk.

    Raises:
        RunConflictError: the weights here are not the run's. EngineError: a model broke.
    """
    for name, spec in job.models.items():
        if not engine_facts(spec.engine).replayable:
            found.notes.append(f"model {name!r}: engine {spec.engine!r} does not promise the same text twice")
    models = as_planned(resolve_models(job), plan)
    for name, model in models.items():
        if model.digest != plan.models[name]["digest"]:
            raise RunConflictError(
                f"model {name!r}: the weights here ({model.digest[:19]}) are not the run's ({plan.models[name]['digest'][:19]})"
            )
    wanted = _of_this_job(chosen, plan, found)
    say(f"replaying {count(sum(t.num_rows for t in wanted.values()), 'row')}")
    if not wanted:
        return
    host = EngineHost(job, models, plan.config_hash, plan.kept)
    host.start()
    try:
        now = host.lineage()
        elsewhere = {words for table in wanted.values() for words in _elsewhere(table, now)}
        if elsewhere:
            note = f"generated with {'; or '.join(sorted(elsewhere))}; replayed with {_world(now)}: bits may differ"
            found.notes.append(note)
            say(note)
        reader = open_source(job.source)
        tables = reader.read(plan.inputs, [plan.chunks[chunk] for chunk in wanted], Program(job).columns)
        for table, before in zip(tables, wanted.values(), strict=True):
            mask = pa.compute.is_in(table.column(ROW_ID), value_set=before.column("row_id").combine_chunks())
            again = host.run_chunk(table.filter(mask), shelf=Bin()).outcomes
            for old, new in zip(before.to_pylist(), again.to_pylist(), strict=True):
                found.replayed += 1
                if _generated(old) != _generated(new):
                    found.differing += 1
                    if len(found.problems) < SHOWN:
                        found.problems.append(f"row {old['row_id']}: came out otherwise when generated again")
    finally:
        host.close()


def _elsewhere(table: pa.Table, now: dict[str, Any]) -> set[str]:
    """Say with what rows were generated, where that may round otherwise than what generates now."""
    lineages = table.column("lineage").to_pylist()
    # A run of an older version, or of a pool, has no yardstick.
    return {
        _world(each)
        for each in lineages
        if _engines(each) != _engines(now)
        or each["machine"] != now["machine"]
        or (each["yardstick"] and each["yardstick"] != now["yardstick"])
    }


def _engines(lineage: dict[str, Any]) -> dict[str, str]:
    return {model["name"]: model["engine_version"] for model in lineage["models"]}


def _world(lineage: dict[str, Any]) -> str:
    words = [*dict.fromkeys(_engines(lineage).values()), lineage["machine"], lineage["yardstick"]]
    return ", ".join(filter(None, words))


def _generated(row: dict[str, Any]) -> Any:
    names = (
        "status",
        "reason",
        "samples",
        "variables",
        "discarded",
        "attempts",
        "calls",
        "fingerprint",
    )
    error = row["error"]  # its words may be another version's
    kept = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
    for sample in (*row["samples"], *row["discarded"]):  # their digest says whether media are the same
        sample["media"] = sample["shard"] = sample["offset"] = None
    # As text: NaN equals nothing.
    return [error and (error["code"], error["step"]), repr(kept), *(row[name] for name in names)]
