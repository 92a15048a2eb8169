"""Job: the complete, validated description of one batch. Frozen; every unknown key is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import AfterValidator, Field, field_validator, model_validator

from raygen.config.base import Day, Frozen, Name
from raygen.config.execution import Execution
from raygen.config.model import REPLICAS, ModelSpec
from raygen.config.sink import MAX_SAMPLE_BYTES, Sink
from raygen.data.sources import CheckedSource
from raygen.program.checks import check_model, check_steps
from raygen.runs.job_record import JobRecord
from raygen.steps.context import Context
from raygen.steps.spec import Step
from raygen.storage.sealed import digest_of

if TYPE_CHECKING:
    from raygen.runs.duplicates import Deduplicate


class Accept(Frozen):
    """How much is enough: of a run, and of a row."""

    target: int | None = Field(
        None, ge=1, description="the run ends once so many rows are accepted; chunks under way still count"
    )
    max_attempts_per_row: int = Field(
        1,
        ge=1,
        le=64,
        description="a row that ends rejected is tried again from the first step on, with other seeds; so often in all",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Accept:
        if self.target is None and self.max_attempts_per_row == 1:
            raise ValueError("give `target`, `max_attempts_per_row` (above 1), or both")
        return self


# Refused at its place in the file, also where an engine refuses it.
CheckedModel = Annotated[ModelSpec, AfterValidator(check_model)]


class Job(Frozen):
    """A batch: rows from a source, through steps that ask models, to a table of outcomes."""

    name: Name = Field(
        description="letters, digits, `.`, `-` and `_`; the run directory is runs/NAME unless `output` says otherwise"
    )
    source: CheckedSource = Field(description="where rows come from")
    models: dict[Name, CheckedModel] = Field(
        min_length=1, description="the models that steps ask, by the job's own names for them"
    )
    steps: tuple[Step, ...] = Field(
        min_length=1, max_length=64, description="what is done with each row, in order"
    )
    keep: tuple[str, ...] | dict[str, str] = Field(
        (), description="input columns to pass through; `{column: name}` stores one under another name"
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="every random number follows from it, the row, the sample, the attempt and the step",
    )
    date: Day | None = Field(
        None, description="that chat templates show when they print one; unset: the day of planning, UTC"
    )
    accept: Accept | None = None
    sink: Sink = Sink()
    execution: Execution = Execution()
    output: str | None = Field(
        None, description="the run directory: a path or s3://bucket/prefix; runs/NAME if unset"
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Job:
        check_steps(self.context)
        return self

    @field_validator("keep", mode="before")
    @classmethod
    def _names(cls, keep: Any) -> Any:
        names = list(keep.values()) if isinstance(keep, dict) else []
        if not isinstance(keep, dict | list | tuple) or not all(isinstance(n, str) for n in (*keep, *names)):
            raise ValueError(
                "a list of columns, [topic, url], or a map, {column: the name to store it under}"
            )
        wrong = [name for name in names if not name or name.startswith("__") or names.count(name) > 1]
        if wrong:
            raise ValueError(
                f"{wrong[0]!r}: "
                + (
                    "two columns would have this name"
                    if names.count(wrong[0]) > 1
                    else "no name for a column"
                )
                + "; a kept column has a name of its own, without __ before it"
            )
        return keep

    @property
    def context(self) -> Context:
        """What its steps may know of it."""
        return Context(
            self.seed,
            self.models,
            self.steps,
            padded=self.source.format == "parquet",
            max_sample_bytes=self.sink.max_sample_bytes,
        )

    @property
    def kept_as(self) -> dict[str, str]:
        """The columns to pass through: name in the outcome -> column of the source."""
        if isinstance(self.keep, dict):
            return {name: column for column, name in self.keep.items()}
        return {column: column for column in self.keep}

    @property
    def output_uri(self) -> str:
        return self.output or f"runs/{self.name}"

    @property
    def deduplicate(self) -> Deduplicate | None:
        """How duplicates are found at the end of the run, if they are."""
        last = self.steps[-1]
        return last.config if last.verb == "deduplicate" else None

    def identity(self) -> dict[str, Any]:
        """Return what decides the outcomes: everything but where the run lives, how wide it is, and how engines run."""
        from raygen.engines import engine_facts

        whole = self.model_dump(mode="json", exclude={"execution", "output", "name"})
        for spec in whole["models"].values():
            deciding = engine_facts(spec["engine"]).deciding_options
            spec["options"] = {key: value for key, value in spec["options"].items() if key in deciding}
            for key in ("placement", *REPLICAS):
                del spec[key]
            if spec["reasoning_tags"] is None:
                del spec["reasoning_tags"]
        for key in ("chunk_bytes", "media"):  # where bytes lie, not which
            del whole["sink"][key]
        if self.sink.max_sample_bytes == MAX_SAMPLE_BYTES:
            del whole["sink"]["max_sample_bytes"]
        del whole["source"]["storage"]
        if self.source.csv is None:
            del whole["source"]["csv"]
        for key in ("accept", "date"):
            if whole[key] is None:
                del whole[key]
        whole["steps"] = [step.model_dump(mode="json", exclude_none=True) for step in self.steps]
        return whole

    def config_hash(self) -> str:
        """Return the short name of the identity, which every outcome carries."""
        return digest_of(self.identity())

    def record(self) -> JobRecord:
        """Return what a run keeps of the job."""
        dump = self.model_dump(mode="json", exclude_none=True)
        return JobRecord(self.name, self.source, self.identity(), dump, self.execution.attempt_limit_s)


def load_job(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    input_uri: str | None = None,
    output_uri: str | None = None,
    max_rows: int | None = None,
) -> Job:
    """Read a job file; the named arguments win over `overrides`, which win over the file. Raises ConfigError."""
    from raygen.config.files import read_config
    from raygen.config.purpose import JOB

    last = [
        f"{key}={orjson.dumps(value).decode()}"
        for key, value in (("source.uri", input_uri), ("output", output_uri), ("source.max_rows", max_rows))
        if value is not None
    ]
    return read_config(path, Job, [*overrides, *last], JOB)
