"""The plan: the immutable list of chunks of a run, pinned before any work, and the check that a resume fits it."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from raygen.config.compare import changed_keys, first_of
from raygen.config.source import Source
from raygen.data.sources.base import InputFile, Range, SourcePlan
from raygen.errors import KeyNotFoundError, RunConflictError
from raygen.runs.job_record import JobRecord
from raygen.runs.scope import Retry, Scope, Whole
from raygen.storage import Store, digest_input, find_inputs, split_uri
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal

PLAN_KEY = "plan.json"
PLAN_VERSION = 2


@dataclass(frozen=True)
class Plan:
    run_id: str
    created_s: float
    name: str
    identity: dict[str, Any]  # Job.identity(): what decides the outcomes
    config_hash: str
    job: dict[str, Any]  # the whole job as it was at planning, for people and for `retry`, `verify`
    models: dict[str, dict[str, Any]]  # name -> {ref, digest}
    inputs: list[InputFile]
    listing: str  # digest of the names that the source's URIs match: new files change it
    chunks: list[Range]
    kept: dict[str, pa.DataType]
    attempt_limit_s: float
    only: dict[int, list[int]] | None = None  # a retry: chunk -> positions of the rows to generate again
    parent: str | None = None  # a retry: Manifest.digest of the run that it mends
    date: str | None = (
        None  # that chat templates show; None: planned before dates were pinned, so the day of that
    )

    @property
    def day(self) -> str:
        """What the clocks of chat templates show: 2026-11-30."""
        return self.date or datetime.fromtimestamp(self.created_s, UTC).date().isoformat()

    @property
    def scope(self) -> Scope:
        """Which rows this run generates."""
        return Whole(self.chunks) if self.only is None else Retry(self.only)

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)

    @property
    def target(self) -> int | None:
        """How many accepted rows are enough; None: all rows are done."""
        return self.scope.target((self.identity.get("accept") or {}).get("target"))

    @property
    def digest(self) -> str:
        """Short name of this plan, which every commit carries."""
        return hashlib.sha256(seal(self._record())).hexdigest()

    @property
    def todo(self) -> list[int]:
        """The chunks of this run: all of them, or for a retry those with rows to mend."""
        return self.scope.chunks

    def _record(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in self.__dataclass_fields__}
        record["version"] = PLAN_VERSION
        if self.date is None:
            del record["date"]  # digests of former plans stay what they were
        record["inputs"] = [asdict(each) for each in self.inputs]
        record["chunks"] = [list(astuple(chunk)) for chunk in self.chunks]
        schema = pa.schema(list(self.kept.items()))
        record["kept"] = {"columns": {n: str(t) for n, t in self.kept.items()}, "arrow": _encode(schema)}
        record["only"] = (
            None if self.only is None else {str(chunk): rows for chunk, rows in self.only.items()}
        )
        return record

    def dump(self) -> bytes:
        return seal(self._record())

    @classmethod
    def load(cls, store: Store, key: str = PLAN_KEY) -> Plan:
        """Read a pinned plan. Raises KeyNotFoundError, CorruptDataError, RunConflictError (another version's plan)."""
        record = read_sealed(store, key, "put back what it was, or choose another --output")
        version = record.pop("version")
        if version != PLAN_VERSION:
            raise RunConflictError(
                f"{store.uri_of(key)}: plan version {version}; this raygen reads version {PLAN_VERSION}: choose another --output"
            )
        record["inputs"] = [InputFile(**each) for each in record["inputs"]]
        record["chunks"] = [Range(*each) for each in record["chunks"]]
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(record["kept"]["arrow"])))
        record["kept"] = {field.name: field.type for field in schema}
        if record["only"] is not None:
            record["only"] = {int(chunk): rows for chunk, rows in record["only"].items()}
        return cls(**record)


def _encode(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def new_plan(
    job: JobRecord,
    source: SourcePlan,
    models: dict[str, dict[str, Any]],
    kept: dict[str, pa.DataType],
    names: list[str],
    date: str,
) -> Plan:
    """Describe a run that has not begun.

    Args:
        date: that chat templates show.
        models: a model's name -> its `ref` and `digest`.
        names: `listed(source)`, taken before the source was planned: a file that arrives in between is then noticed.
    """
    return Plan(
        run_id=uuid.uuid4().hex[:16],
        created_s=time.time(),
        name=job.name,
        identity=job.identity,
        config_hash=job.config_hash,
        job=job.dump,
        models=models,
        inputs=source.inputs,
        listing=listing_digest(names),
        chunks=source.ranges,
        kept=kept,
        attempt_limit_s=job.attempt_limit_s,
        date=date,
    )


def listed(source: Source) -> list[str]:
    """Return the names of everything that the source's URIs match now. Raises SourceError, AccessError."""
    return [store.uri_of(info.key) for uri in source.uris for store, info in find_inputs(uri, source.storage)]


def listing_digest(names: list[str]) -> str:
    """Return a digest of the names of all inputs, in any order."""
    return hashlib.sha256(orjson.dumps(sorted(names))).hexdigest()


def pin(store: Store, plan: Plan) -> bool:
    """Write the plan if there is none; False if another driver was faster (then load and check theirs)."""
    standing = create_once(
        store, PLAN_KEY, plan.dump(), lambda: Plan.load(store), unsettled="the plan was written; run again"
    )
    return standing is None or standing.run_id == plan.run_id


def check_resume(plan: Plan, job: JobRecord, models: dict[str, dict[str, Any]], where: str) -> None:
    """Refuse to go on with a run that another job, model or input began.

    Raises:
        RunConflictError: one line that names what differs and what to do.
    """
    differences = changed_keys(plan.identity, job.identity)
    all_anew = any(each.startswith(("source.key", "source.format", "seed")) for each in differences)
    for name, model in models.items():
        before = plan.models.get(name, {}).get("digest")
        if before is not None and before != model["digest"]:
            differences.append(f"model {name!r}: weights were {before[:19]}, now {model['digest'][:19]}")
    if not differences:
        differences = _changed_inputs(plan, job.source)
    if differences:
        remedy = plan.scope.remedy(where, all_anew)
        raise RunConflictError(
            f"{where} holds another run of {plan.name!r}: {first_of(differences)}. {remedy}"
        )


def _changed_inputs(plan: Plan, source: Source) -> list[str]:
    """Compare the inputs with the pinned ones; content is only read where size or time differ."""
    names = listed(source)
    return _other_files(plan, names) if listing_digest(names) != plan.listing else _changed(plan, source)


def _changed(plan: Plan, source: Source) -> list[str]:
    """Name the pinned inputs that hold something else now, or are gone."""
    changed = []
    for pinned in plan.inputs:
        store, key = split_uri(pinned.uri, source.storage)
        try:
            info = store.stat(key)
        except KeyNotFoundError:
            changed.append(f"input {pinned.uri} is gone")
            continue
        if info.version != pinned.version and digest_input(store, info) != pinned.digest:
            changed.append(f"input {pinned.uri} has changed")
    return changed


def check_inputs(plan: Plan, source: Source, where: str) -> None:
    """Refuse to retry rows of a run whose inputs are not what they were: a retry reads the same rows.

    Args:
        where: the run's directory.

    Raises:
        RunConflictError: one line that names what differs and what to do.
    """
    if differences := _changed(plan, source):
        raise RunConflictError(
            f"{first_of(differences)} since {where} was planned; bring the old one back, "
            f"or take over what still holds: raygen run JOB --output NEW --reuse {where}"
        )


def _other_files(plan: Plan, names: list[str]) -> list[str]:
    """Name the files that came and went."""
    pinned = [each.uri for each in plan.inputs]
    found = [f"input {uri} is gone" for uri in pinned if uri not in set(names)]
    # Under source.max_rows, files behind the last row were listed and not pinned: which of the others are new is unknown.
    if listing_digest(pinned) == plan.listing:
        found += [f"file {name} is new" for name in names if name not in set(pinned)]
    return found or [f"the source matches other files than it did ({len(plan.inputs)} of them are pinned)"]
